// On which timeline a commit lies. A promoted standby starts a new timeline at some LSN; WAL before that LSN belongs to the
// older timeline and keeps its number, whichever server decodes it. Pure. The history comes from TIMELINE_HISTORY, which
// the reader reads on the replication connection itself.

import { type Lsn, parseLsn } from './lsn.ts';

/** A timeline that has ended: `endsAtLsn` (exclusive) is the switch point, where the next one begins. */
export interface TimelineSwitch {
  readonly timeline: number;
  readonly endsAtLsn: Lsn;
}

/** Timeline id, switch point and, after white space, a reason as text. */
const LINE = /^\s*(\d{1,10})\s+([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8})(?:\s|$)/;

/**
 * Parses a timeline history file: the ancestors of a timeline, oldest first (Postgres writes and requires that order).
 * @throws Error with the line that is neither an ancestor, empty nor a comment, or that is out of order
 */
export function parseTimelineHistory(content: string | Buffer): TimelineSwitch[] {
  const history: TimelineSwitch[] = [];
  for (const [index, line] of content.toString('utf8').split('\n').entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const match = LINE.exec(line);
    if (match === null)
      throw new Error(`Line ${index + 1} of the timeline history is not a timeline id and a switch point.`);
    const entry = { timeline: Number(match[1]), endsAtLsn: parseLsn(match[2]!) };
    const before = history.at(-1);
    if (before !== undefined && (entry.timeline <= before.timeline || entry.endsAtLsn < before.endsAtLsn)) {
      throw new Error(`Line ${index + 1} of the timeline history is older than the line before it.`);
    }
    history.push(entry);
  }
  return history;
}

/** The timeline of a commit record that starts at `commitLsn`: before a switch point, it belongs to the older timeline. */
export function timelineOf(commitLsn: Lsn, currentTimeline: number, history: readonly TimelineSwitch[]): number {
  return history.find((ancestor) => commitLsn < ancestor.endsAtLsn)?.timeline ?? currentTimeline;
}

/** Whether `timeline` is the current one or one of its ancestors. */
export function isInHistory(timeline: number, currentTimeline: number, history: readonly TimelineSwitch[]): boolean {
  return timeline === currentTimeline || history.some((ancestor) => ancestor.timeline === timeline);
}
