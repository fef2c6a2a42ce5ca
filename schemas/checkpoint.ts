// The checkpoint: what the reader knows about everything it has published, written in the same Kafka transaction as
// the events it covers. This module owns its form (JSON, LSNs as X/Y text, 64-bit numbers as decimal text) and the
// arithmetic of `throughLsn`. Pure: reading the topic is left to kafka/checkpoint-topic.ts, comparing the
// checkpoint with the source to the reader's continuity.ts.
import { createHash, type Hash } from 'node:crypto';
import type { CaptureFingerprint, RecordedCapture } from './capture-fingerprint.ts';
import { formatLsn, type Lsn, parseLsn } from './lsn.ts';
import type { TimelineSwitch } from './timeline.ts';

/**
 * `intent`: a first start has begun, nothing is certain; `snapshot`: it is publishing the orders that existed;
 * `streaming`: everything before `throughLsn` is published.
 */
type CheckpointState = 'intent' | 'snapshot' | 'streaming';

export interface LastPublished {
  readonly commitLsn: Lsn;
  /** The greatest ordinal of that transaction that is published. */
  readonly ordinal: number;
  readonly orderId: string;
  /** SHA-256 over the ids of that transaction's orders by ordinal, hex (see hashOrderIds). */
  readonly ordersHash: string;
  /** An operator has accepted that its order is only in a table that was replaced since. */
  readonly isReplaced?: true;
}

export interface Checkpoint {
  readonly state: CheckpointState;
  readonly systemIdentifier: string;
  readonly database: string;
  readonly slotName: string;
  readonly timeline: number;
  readonly history: readonly TimelineSwitch[];
  readonly generation: number;
  /** How many partitions of the live topic are in use. */
  readonly partitions: number;
  readonly lastPublished: LastPublished | null;
  /** Exclusive: every transaction with `commitLsn < throughLsn` is published, and nothing else but `partial`. */
  readonly throughLsn: Lsn;
  /** A huge transaction of which only the ordinals up to this one are published. */
  readonly partial: { readonly commitLsn: Lsn; readonly ordinal: number } | null;
  /** By partition, the offset from which the events of this checkpoint's own Kafka transaction, or later ones, lie. */
  readonly nextOffsets: readonly bigint[];
  /** By partition, where this checkpoint's own Kafka transaction, or an earlier one, ends at least: below it, events are lost. */
  readonly endOffsets: readonly bigint[];
  /** Who the captured tables were at the last check that found them unchanged. */
  readonly capture: RecordedCapture;
  /** What the live topic does not hold, accepted by an operator: from inclusive, to exclusive, by commit LSN. */
  readonly gaps: readonly LsnRange[];
  /** When publishing had come how far, oldest first, now and then: the time bound of the replay window. */
  readonly windowMarks: readonly WindowMark[];
  /** Kafka's id of the live topic that was published to; null where it is not known yet, or the brokers have none. */
  readonly liveTopicId: string | null;
}

/** From inclusive, to exclusive, on `commitLsn`. */
export interface LsnRange {
  readonly fromLsn: Lsn;
  readonly toLsn: Lsn;
}

/** At `atMs` (milliseconds since 1970) everything before `throughLsn` had been published. */
export interface WindowMark {
  readonly atMs: number;
  readonly throughLsn: Lsn;
}

/** Version 1 knew the publication's rows only; a reader of then must not take this record for one of its own. */
const VERSION = 2;

/** What the pipeline does with a committed transaction: the one place where `throughLsn` decides. */
export function publishFrom(
  checkpoint: Checkpoint,
  commitLsn: Lsn,
): { kind: 'drop' } | { kind: 'publish'; ordinal: number } {
  if (commitLsn < checkpoint.throughLsn) return { kind: 'drop' };
  if (checkpoint.partial?.commitLsn === commitLsn) return { kind: 'publish', ordinal: checkpoint.partial.ordinal + 1 };
  return { kind: 'publish', ordinal: 0 };
}

/** The order whose existence tells that the database is still the one that was published from; null: there is none. */
export function findWitness({ lastPublished }: Pick<Checkpoint, 'lastPublished'>): string | null {
  return lastPublished === null || lastPublished.isReplaced === true ? null : lastPublished.orderId;
}

/** Whether the slot has been told of more than was ever published: then transactions are lost (I11). */
export function isSlotAhead(checkpoint: Checkpoint, confirmedFlushLsn: Lsn): boolean {
  return confirmedFlushLsn > checkpoint.throughLsn;
}

/** The hash of one transaction's order ids; feed the ids by ordinal, then call `digest('hex')`. */
export function hashOrderIds(): Hash {
  return createHash('sha256');
}

/** One id into the hash: lower case and separated, so that ids can't run into each other. */
export function addOrderId(hash: Hash, orderId: string): void {
  hash.update(orderId.toLowerCase()).update('\n');
}

export function formatCheckpoint(checkpoint: Checkpoint): Buffer {
  const { lastPublished, partial } = checkpoint;
  return Buffer.from(
    JSON.stringify({
      version: VERSION,
      ...checkpoint,
      history: checkpoint.history.map((entry) => ({ ...entry, endsAtLsn: formatLsn(entry.endsAtLsn) })),
      lastPublished: lastPublished && { ...lastPublished, commitLsn: formatLsn(lastPublished.commitLsn) },
      throughLsn: formatLsn(checkpoint.throughLsn),
      partial: partial && { ...partial, commitLsn: formatLsn(partial.commitLsn) },
      nextOffsets: checkpoint.nextOffsets.map(String),
      endOffsets: checkpoint.endOffsets.map(String),
      gaps: checkpoint.gaps.map(({ fromLsn, toLsn }) => ({ fromLsn: formatLsn(fromLsn), toLsn: formatLsn(toLsn) })),
      windowMarks: checkpoint.windowMarks.map((mark) => ({ ...mark, throughLsn: formatLsn(mark.throughLsn) })),
    }),
  );
}

/** @throws MalformedCheckpointError when the record isn't one of ours, or is of a newer version. */
export function parseCheckpoint(record: Buffer): Checkpoint {
  try {
    const json = JSON.parse(record.toString('utf8'));
    if (json.version !== VERSION && json.version !== 1) {
      throw new Error(`its version is ${json.version}, this reader knows 1 and ${VERSION}`);
    }
    return {
      state: oneOf(json.state, ['intent', 'snapshot', 'streaming']),
      systemIdentifier: text(json.systemIdentifier),
      database: text(json.database),
      slotName: text(json.slotName),
      timeline: integer(json.timeline),
      history: list(json.history).map((entry) => ({
        timeline: integer(entry.timeline),
        endsAtLsn: parseLsn(text(entry.endsAtLsn)),
      })),
      generation: integer(json.generation),
      partitions: integer(json.partitions),
      lastPublished: json.lastPublished && {
        commitLsn: parseLsn(text(json.lastPublished.commitLsn)),
        ordinal: integer(json.lastPublished.ordinal),
        orderId: text(json.lastPublished.orderId),
        ordersHash: text(json.lastPublished.ordersHash),
        ...(json.lastPublished.isReplaced === true ? { isReplaced: true } : {}),
      },
      throughLsn: parseLsn(text(json.throughLsn)),
      partial: json.partial && {
        commitLsn: parseLsn(text(json.partial.commitLsn)),
        ordinal: integer(json.partial.ordinal),
      },
      nextOffsets: list(json.nextOffsets).map((offset) => BigInt(text(offset))),
      // Records from before ends were recorded have none.
      endOffsets: list(json.endOffsets ?? []).map((offset) => BigInt(text(offset))),
      capture: json.version === 1 ? { version1: text(json.publicationFingerprint) } : capture(json.capture),
      // Records from before there was replay have neither.
      gaps: list(json.gaps ?? []).map((gap) => ({
        fromLsn: parseLsn(text(gap.fromLsn)),
        toLsn: parseLsn(text(gap.toLsn)),
      })),
      windowMarks: list(json.windowMarks ?? []).map((mark) => ({
        atMs: integer(mark.atMs),
        throughLsn: parseLsn(text(mark.throughLsn)),
      })),
      // Records from before topic ids were learnt lack it, and readers of then pass over it.
      liveTopicId: json.liveTopicId == null ? null : text(json.liveTopicId),
    };
  } catch (cause) {
    throw new MalformedCheckpointError(cause);
  }
}

/** The record is not a checkpoint, or is one of another version. */
export class MalformedCheckpointError extends Error {
  readonly code = 'MALFORMED_CHECKPOINT';

  constructor(cause: unknown) {
    const why = cause instanceof Error ? cause.message : 'unknown';
    super(
      `The newest record of the checkpoint topic can't be read: ${why}. A newer version of Tillstream wrote it (run that ` +
        `version), or something else writes to that topic.`,
      { cause },
    );
    this.name = 'MalformedCheckpointError';
  }
}

/** Written by a reader of this version as Postgres gave it; only its presence is checked. */
function capture(value: unknown): CaptureFingerprint {
  const { publication, schema, tables } = (value ?? {}) as Partial<CaptureFingerprint>;
  if (publication === undefined || schema === undefined || tables === undefined) throw new Error('it has no capture');
  return { publication, schema, tables };
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new Error(`expected text, found ${typeof value}`);
  return value;
}

function integer(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw new Error(`expected an integer, found ${typeof value}`);
  return value as number;
}

function list(value: unknown): Record<string, unknown>[] & unknown[] {
  if (!Array.isArray(value)) throw new Error(`expected a list, found ${typeof value}`);
  return value;
}

function oneOf<const T extends string>(value: unknown, allowed: readonly T[]): T {
  if (!allowed.includes(value as T)) throw new Error(`expected one of ${allowed.join(', ')}`);
  return value as T;
}
