// The records of the replay topic: their headers, and the count and checksum of a run. The tool writes them and the sinks
// read them; both use this file, so that they can't disagree. A replayed order has the key and the bytes that it has in
// the live topic; the headers name the run, its mode and the version of the rule. Pure. A record without these headers is
// not the tool's: the sinks park it.

import { createHash } from 'node:crypto';

/** repair: apply the orders that the ledger lacks. reapply: also recompute those that it has, and apply the difference. */
export type ReplayMode = 'repair' | 'reapply';

/** What identifies a run, on each of its records. */
export interface ReplayStamp {
  /** A UUID in lower case. */
  readonly runId: string;
  readonly mode: ReplayMode;
  /** RULE_VERSION of the tool that planned the run: a sink with another version does not apply its records. */
  readonly ruleVersion: number;
}

/**
 * order: key and value as in the live topic. end: the last record of a run in a partition, with its tally there. progress:
 * only in partition 0, read only by the tool.
 */
export type ReplayKind = 'order' | 'end' | 'progress';

/** The key of progress records. */
export const REPLAY_PROGRESS_KEY = 'tillstream.replay.progress';

const RUN = 'tillstream-replay-run';
const MODE = 'tillstream-replay-mode';
const RULE = 'tillstream-replay-rule';
const KIND = 'tillstream-replay-kind';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** smallint in the database. */
const RULE_VERSION_TEXT = /^(0|[1-9]\d{0,3})$/;

/** The headers of a record of the replay topic. */
export function formatReplayHeaders(stamp: ReplayStamp, kind: ReplayKind): Record<string, string> {
  return { [RUN]: stamp.runId, [MODE]: stamp.mode, [RULE]: String(stamp.ruleVersion), [KIND]: kind };
}

/** The stamp and kind that the headers hold; undefined if the record is not the replay tool's. */
export function parseReplayHeaders(
  headers: Readonly<Record<string, Buffer | undefined>>,
): { readonly stamp: ReplayStamp; readonly kind: ReplayKind } | undefined {
  const [runId, mode, rule, kind] = [RUN, MODE, RULE, KIND].map((name) => headers[name]?.toString('utf8'));
  if (runId === undefined || !UUID.test(runId)) return undefined;
  if (mode !== 'repair' && mode !== 'reapply') return undefined;
  if (rule === undefined || !RULE_VERSION_TEXT.test(rule)) return undefined;
  if (kind !== 'order' && kind !== 'end' && kind !== 'progress') return undefined;
  return { stamp: { runId, mode, ruleVersion: Number(rule) }, kind };
}

/** The number of orders and the sum of their digests modulo 2^64, which does not depend on their order. */
export interface ReplayTally {
  readonly count: bigint;
  readonly checksum: bigint;
}

export const EMPTY_TALLY: ReplayTally = { count: 0n, checksum: 0n };

/** Adds a record of kind `order` to `tally`. */
export function addToTally(tally: ReplayTally, key: Buffer, value: Buffer): ReplayTally {
  return addTallies(tally, { count: 1n, checksum: digestRecord(key, value) });
}

export function addTallies(a: ReplayTally, b: ReplayTally): ReplayTally {
  return { count: a.count + b.count, checksum: BigInt.asUintN(64, a.checksum + b.checksum) };
}

/** Formats the value of an `end` record: both numbers in decimal digits. */
export function formatReplayEnd({ count, checksum }: ReplayTally): Buffer {
  return Buffer.from(`${count} ${checksum}`);
}

/** The value of a record of kind `end` is malformed. */
export class MalformedReplayEndError extends Error {
  readonly code = 'MALFORMED_REPLAY_END';
  override readonly name = 'MalformedReplayEndError';
}

const END = /^(0|[1-9]\d{0,17}) (0|[1-9]\d{0,19})$/;

/** @throws MalformedReplayEndError */
export function parseReplayEnd(value: Buffer): ReplayTally {
  const match = END.exec(value.toString('utf8'));
  const tally = match && { count: BigInt(match[1]!), checksum: BigInt(match[2]!) };
  if (tally === null || tally.checksum !== BigInt.asUintN(64, tally.checksum)) {
    throw new MalformedReplayEndError('the end record of a replay does not hold "count checksum" in decimal digits');
  }
  return tally;
}

/** The length distinguishes key "ab" with value "c" from key "a" with value "bc". */
function digestRecord(key: Buffer, value: Buffer): bigint {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(key.length);
  return createHash('sha256').update(length).update(key).update(value).digest().readBigUInt64BE();
}
