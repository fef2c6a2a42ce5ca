// Progress for people: on a terminal a bar in one line, with rate and time left; elsewhere a line every few seconds, so that a
// job's log is not flooded. Pure but for the stream; time is an argument.

import { formatCount } from '../cli/render.ts';

const TERMINAL_EVERY_MS = 100;
const LINE_EVERY_MS = 3_000;
const BAR_WIDTH = 30;

export interface ProgressDisplay {
  /** `total`: 0 if unknown. What was done before this process counts for the bar, not for the rate. */
  show(what: string, done: number, total: number): void;
  /** Call before other output. */
  end(): void;
}

export function createProgressDisplay(
  stream: { write(text: string): unknown },
  isTerminal: boolean,
  nowMs: () => number,
): ProgressDisplay {
  let shownMs = Number.NEGATIVE_INFINITY;
  let isOpen = false;
  let begun: { what: string; atMs: number; done: number } | undefined;
  return {
    show(what, done, total) {
      const now = nowMs();
      if (begun?.what !== what) begun = { what, atMs: now, done };
      const isDone = total > 0 && done >= total;
      if (now - shownMs < (isTerminal ? TERMINAL_EVERY_MS : LINE_EVERY_MS) && !(isTerminal && isDone)) return;
      shownMs = now;
      const line = formatProgressLine({ what, done, total, perSecond: rateOf(begun, now, done), isBar: isTerminal });
      stream.write(isTerminal ? `\r\u001b[K${line}` : `${line}\n`);
      isOpen = isTerminal;
    },
    end() {
      if (isOpen) stream.write('\n');
      isOpen = false;
      begun = undefined;
      shownMs = Number.NEGATIVE_INFINITY;
    },
  };
}

function rateOf(begun: { atMs: number; done: number }, nowMs: number, done: number): number {
  const seconds = (nowMs - begun.atMs) / 1_000;
  return seconds < 0.2 ? 0 : (done - begun.done) / seconds;
}

/** `publishing [####    ] 40 % 4,000 of 10,000, 2,000/s, 3 s left` */
export function formatProgressLine(at: {
  what: string;
  done: number;
  total: number;
  perSecond: number;
  isBar: boolean;
}): string {
  const { what, done, total, perSecond, isBar } = at;
  const rate = perSecond > 0 ? `, ${formatCount(Math.round(perSecond))}/s` : '';
  if (total === 0) return `${what} ${formatCount(done)}${rate}`;
  const share = Math.min(1, done / total);
  const filled = Math.round(share * BAR_WIDTH);
  const bar = isBar ? ` [${'#'.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}]` : '';
  const left = perSecond > 0 && done < total ? `, ${formatDuration((total - done) / perSecond)} left` : '';
  return `${what}${bar} ${Math.floor(share * 100)} % ${formatCount(done)} of ${formatCount(total)}${rate}${left}`;
}

/** `3 s`, `4 min 10 s`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
}
