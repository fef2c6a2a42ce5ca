// On which timeline a commit lies. A promoted standby begins a new timeline at some point of the log; what lies before
// it belongs to the older one and keeps that number for ever, whichever server decodes it. Pure; the history comes from
// TIMELINE_HISTORY, read on the replication connection itself (replication-stream.ts).

import { type Lsn, parseLsn } from '#schemas/lsn.ts';

/** One timeline that came to an end: `endsAtLsn` is where the next one begins, exclusive. */
export interface TimelineSwitch {
  readonly timeline: number;
  readonly endsAtLsn: Lsn;
}

/** Id, switch point and, after white space, a reason in words. */
const LINE = /^\s*(\d{1,10})\s+([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8})(?:\s|$)/;

/**
 * Reads a timeline history file: the ancestors of a timeline, oldest first (Postgres writes and requires that order).
 * @throws Error naming the line that is neither an ancestor, empty nor a comment, or that is out of order.
 */
export function parseTimelineHistory(content: string | Buffer): TimelineSwitch[] {
  const history: TimelineSwitch[] = [];
  for (const [index, line] of content.toString('utf8').split('\n').entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const match = LINE.exec(line);
    if (match === null) throw new Error(`Line ${index + 1} of the timeline history is no timeline and switch point.`);
    const entry = { timeline: Number(match[1]), endsAtLsn: parseLsn(match[2]!) };
    const before = history.at(-1);
    if (before !== undefined && (entry.timeline <= before.timeline || entry.endsAtLsn < before.endsAtLsn)) {
      throw new Error(`Line ${index + 1} of the timeline history is older than the line before it.`);
    }
    history.push(entry);
  }
  return history;
}

/** The timeline on which a record that starts at `commitLsn` lies: one that starts before a switch point is older. */
export function timelineOf(commitLsn: Lsn, currentTimeline: number, history: readonly TimelineSwitch[]): number {
  return history.find((ancestor) => commitLsn < ancestor.endsAtLsn)?.timeline ?? currentTimeline;
}

/** Whether `timeline` is the current one or one that it descends from. */
export function isInHistory(timeline: number, currentTimeline: number, history: readonly TimelineSwitch[]): boolean {
  return timeline === currentTimeline || history.some((ancestor) => ancestor.timeline === timeline);
}

/** Where `timeline` ended and its successor began; undefined when it is not among the ancestors. */
export function switchPointAfter(timeline: number, history: readonly TimelineSwitch[]): Lsn | undefined {
  return history.find((ancestor) => ancestor.timeline === timeline)?.endsAtLsn;
}
