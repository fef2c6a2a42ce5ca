/**
 * The place of one order in the history of the orders database, and the order of all such places.
 *
 * A row's own LSN is no such place: several rows share one, and rows of interleaved transactions are out of order.
 * Positions compare only within one topic, which means within one Postgres cluster (I4).
 */
import type { Lsn } from './lsn.ts';
import { formatLsn, parseLsn } from './lsn.ts';

export interface Position {
  /** The timeline on which the commit lies, by the timeline's history. */
  readonly timeline: number;
  /** Where the transaction's commit record starts; every transaction has its own. */
  readonly commitLsn: Lsn;
  /** Counts the orders of that transaction, from 0. */
  readonly ordinal: number;
}

const TEXT = /^(\d{1,10}):([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}):(\d{1,10})$/;

/** Negative when `a` comes first, 0 when equal, positive otherwise: by timeline, commit, ordinal. */
export function comparePositions(a: Position, b: Position): number {
  if (a.timeline !== b.timeline) return a.timeline < b.timeline ? -1 : 1;
  if (a.commitLsn !== b.commitLsn) return a.commitLsn < b.commitLsn ? -1 : 1;
  return Math.sign(a.ordinal - b.ordinal);
}

/** `timeline:commitLsn:ordinal`, like `1:0/16B3748:0`. */
export function formatPosition(position: Position): string {
  return `${position.timeline}:${formatLsn(position.commitLsn)}:${position.ordinal}`;
}

/** @throws RangeError naming the expected form. */
export function parsePosition(text: string): Position {
  const match = TEXT.exec(text);
  if (match === null) {
    throw new RangeError(
      `${JSON.stringify(text)} is no position: expected timeline:commitLsn:ordinal, like 1:0/16B3748:0`,
    );
  }
  return { timeline: Number(match[1]), commitLsn: parseLsn(match[2]!), ordinal: Number(match[3]) };
}
