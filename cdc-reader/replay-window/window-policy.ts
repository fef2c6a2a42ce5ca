// The policy of the WAL that is kept for replays: which step its slot needs, by the facts of this moment. Pure. Guarantees:
// the window slot makes the server keep at most `bytes` more than the live slot does anyway (I7), and keeps what was
// published in about the last `ms`; it never passes what is published. Postgres removes WAL only up to a restart point (a
// running-xacts record) before the position that a slot was advanced to, so room is made early, and restart points are
// logged where the server writes too few; where that is not enough, the window is emptied. Taking the steps is
// window-keeper.ts's.
import type { WindowMark } from '#schemas/checkpoint.ts';
import { type Lsn, maxLsn, toLsn } from '#schemas/lsn.ts';

export interface WindowLimits {
  /** 0 switches the window off. */
  readonly bytes: number;
  readonly ms: number;
}

/** Slots and log as one statement saw them. */
export interface WindowFacts {
  readonly slot: WindowSlot | null;
  /** null: the live slot holds no WAL. */
  readonly liveRestartLsn: Lsn | null;
  readonly flushLsn: Lsn;
}

export interface WindowSlot {
  /** The oldest WAL that it keeps. */
  readonly restartLsn: Lsn | null;
  /** All transactions that commit from here on can be read from it. */
  readonly confirmedFlushLsn: Lsn | null;
  /** Postgres has invalidated it. */
  readonly isLost: boolean;
  /** Why, as Postgres names it; null before Postgres 16. */
  readonly lostReason: string | null;
  /** Made by somebody else: another plugin or database. */
  readonly isForeign: boolean;
}

export type WindowStep =
  | { readonly kind: 'nothing' | 'create' | 'drop' }
  | { readonly kind: 'recreate' /** `over-limit`, `lost`, or Postgres's reason for that. */; readonly reason: string }
  | { readonly kind: 'advance'; readonly toLsn: Lsn }
  | { readonly kind: 'refuse'; readonly why: 'foreign' };

/** From this share of the limit on room is made, down to the half. */
const MAKE_ROOM_FROM = 0.75;
const MAKE_ROOM_TO = 0.5;

/** From here on at any price: the rest is for what is written before the next check. */
const EMPTY_FROM = 0.875;

/** In one check: the first advance may stop at the first restart point it meets, the second one goes on from there. */
const MAX_ADVANCES = 2;

/** `advances`: how many were made in this check. */
export function chooseWindowStep(options: {
  facts: WindowFacts;
  limits: WindowLimits;
  marks: readonly WindowMark[];
  throughLsn: Lsn;
  nowMs: number;
  advances: number;
}): WindowStep {
  const { facts, limits, marks, throughLsn, nowMs, advances } = options;
  const { slot, flushLsn } = facts;
  if (slot?.isForeign) return limits.bytes === 0 ? { kind: 'nothing' } : { kind: 'refuse', why: 'foreign' };
  if (limits.bytes === 0) return { kind: slot === null ? 'nothing' : 'drop' };
  if (slot === null) return { kind: 'create' };
  const { restartLsn, confirmedFlushLsn } = slot;
  if (slot.isLost || restartLsn === null || confirmedFlushLsn === null)
    return { kind: 'recreate', reason: slot.lostReason ?? 'lost' };

  const isAtLimit = pinnedBytes(facts) > limits.bytes * EMPTY_FROM;
  if (isAtLimit) {
    if (advances > MAX_ADVANCES) return { kind: 'recreate', reason: 'over-limit' };
    // The live slot has released WAL up to a restart point that this one has not reached: then what is replayable goes
    // first. An advance to its present position is of use too, since only that finds restart points behind it.
    if (advances === MAX_ADVANCES) return { kind: 'advance', toLsn: maxLsn(throughLsn, confirmedFlushLsn) };
  }

  const isNearLimit = Number(flushLsn - restartLsn) > limits.bytes * MAKE_ROOM_FROM;
  const roomLsn = flushLsn - BigInt(Math.floor(limits.bytes * MAKE_ROOM_TO));
  const byBytes = isNearLimit && roomLsn > 0n ? toLsn(roomLsn) : confirmedFlushLsn;
  const wanted = maxLsn(byBytes, marks.findLast(({ atMs }) => atMs <= nowMs - limits.ms)?.throughLsn ?? byBytes);
  const allowed = wanted < throughLsn ? wanted : throughLsn;
  const isOfUse = allowed > confirmedFlushLsn || isAtLimit;
  if (!isOfUse || advances >= MAX_ADVANCES) return { kind: 'nothing' };
  return { kind: 'advance', toLsn: maxLsn(allowed, confirmedFlushLsn) };
}

/** Bytes that the server keeps because of the window slot alone. */
export function pinnedBytes({ slot, liveRestartLsn, flushLsn }: WindowFacts): number {
  const otherwise = liveRestartLsn === null || liveRestartLsn > flushLsn ? flushLsn : liveRestartLsn;
  return Math.max(0, Number(otherwise - (slot?.restartLsn ?? otherwise)));
}

/** Marks in a window: enough for its time bound to hold within a sixteenth, few enough for every checkpoint. */
const MARKS_IN_WINDOW = 16;
const MAX_MARKS = 32;

/** The marks for the next checkpoint: the same array unless one was due. None while the window is switched off. */
export function addWindowMark(
  marks: readonly WindowMark[],
  mark: WindowMark,
  limits: WindowLimits,
): readonly WindowMark[] {
  if (limits.bytes === 0) return marks.length === 0 ? marks : [];
  // After a clock was set back, or what is published was cut back, later marks are wrong.
  const valid = marks.filter(({ atMs, throughLsn }) => atMs <= mark.atMs && throughLsn <= mark.throughLsn);
  const newest = valid.at(-1);
  if (newest !== undefined && mark.atMs - newest.atMs < limits.ms / MARKS_IN_WINDOW) {
    return valid.length === marks.length ? marks : valid;
  }
  // The newest of those that lie before the window is what the slot may be advanced to.
  const before = valid.findLastIndex(({ atMs }) => atMs <= mark.atMs - limits.ms);
  return [...valid.slice(Math.max(0, before)), mark].slice(-MAX_MARKS);
}

/** About how long ago `fromLsn` was published, in milliseconds, between the marks by the share of WAL. */
export function windowAgeMs(
  fromLsn: Lsn,
  { marks, throughLsn, nowMs }: { marks: readonly WindowMark[]; throughLsn: Lsn; nowMs: number },
): number {
  const known = [...marks.filter((mark) => mark.atMs <= nowMs), { atMs: nowMs, throughLsn }];
  const next = known.findIndex((mark) => mark.throughLsn >= fromLsn);
  if (next < 0) return 0;
  const after = known[next]!;
  const before = known[next - 1];
  if (before === undefined || after.throughLsn === before.throughLsn) return nowMs - after.atMs;
  const share = Number(after.throughLsn - fromLsn) / Number(after.throughLsn - before.throughLsn);
  return Math.round(nowMs - after.atMs + share * (after.atMs - before.atMs));
}

/** Restart points this far apart, in bytes: what an advance can't free is then a small part of the limit. */
export function restartPointStepBytes(limits: WindowLimits): number {
  return limits.bytes / 16;
}

/** A check is one row, so ten a second cost nothing; when writing begins, the longest interval passes unchecked. */
const SHORTEST_CHECK_MS = 100;
const LONGEST_CHECK_MS = 500;

/** Time until the next check: before another step of the limit is written, at the rate since the last one. */
export function nextCheckMs(limits: WindowLimits, written: { bytes: number; ms: number }): number {
  if (limits.bytes === 0 || written.bytes <= 0) return LONGEST_CHECK_MS;
  const stepMs = (restartPointStepBytes(limits) / written.bytes) * written.ms;
  return Math.min(LONGEST_CHECK_MS, Math.max(SHORTEST_CHECK_MS, stepMs));
}
