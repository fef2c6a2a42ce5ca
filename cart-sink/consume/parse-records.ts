/**
 * Cuts the records of a fetch into chunks, each small enough for one database transaction, and parses them. Pure.
 *
 * Guarantees that a chunk is of one replay run, or of none. A record is parked only if no program could ever apply it,
 * decided from its bytes alone: malformed, without a value, under a key that is not its user's (it would be out of
 * order with the user's other orders, I4), or in the replay topic without being the replay tool's. An unknown schema
 * and every unexpected error halt instead: a newer program will succeed.
 */

import type { LogRecord } from '#kafka/protocol/record.ts';
import { decodeOrderPlaced, MalformedEventError, UnknownSchemaError } from '#schemas/codec.ts';
import {
  addToTally,
  EMPTY_TALLY,
  MalformedReplayEndError,
  parseReplayEnd,
  parseReplayHeaders,
  type ReplayKind,
  type ReplayStamp,
  type ReplayTally,
} from '#schemas/replay/records.ts';
import { TRACEPARENT } from '#service/tracing/trace-context.ts';
import type { BatchEntry } from '../apply/batch.ts';
import { SinkDefectError, UnknownEventSchemaError } from '../errors.ts';
import type { TopicPartition } from '../sql/consumer-offsets.ts';

/** live: of the live topic. unmarked: in the replay topic, but not of the replay tool. */
export type RecordKind = ReplayKind | 'live' | 'unmarked';

export interface Chunk {
  readonly records: readonly LogRecord[];
  /** One for each record. */
  readonly kinds: readonly RecordKind[];
  /** The run that all records are of; null: of none. */
  readonly replay: ReplayStamp | null;
}

export interface CutChunk extends Chunk {
  /** Of the values. */
  readonly bytes: number;
}

export interface ChunkLimits {
  readonly maxRecords: number;
  readonly maxBytes: number;
}

/** The records from `start` on that fit the limits and are of one run. A record above the byte limit is one chunk. */
export function cutChunk(
  records: readonly LogRecord[],
  start: number,
  limits: ChunkLimits,
  topic: 'live' | 'replay',
): CutChunk {
  const kinds: RecordKind[] = [];
  let replay: ReplayStamp | null = null;
  let bytes = 0;
  for (const { value, headers } of records.slice(start, start + limits.maxRecords)) {
    const { stamp, kind } = topic === 'live' ? LIVE : (parseReplayHeaders(headers) ?? UNMARKED);
    const length = value?.length ?? 0;
    if (kinds.length === 0) replay = stamp;
    else if (bytes + length > limits.maxBytes || !isSameRun(replay, stamp)) break;
    bytes += length;
    kinds.push(kind);
  }
  return { records: records.slice(start, start + kinds.length), kinds, replay, bytes };
}

const LIVE = { stamp: null, kind: 'live' } as const;
const UNMARKED = { stamp: null, kind: 'unmarked' } as const;

function isSameRun(one: ReplayStamp | null, other: ReplayStamp | null): boolean {
  const isSame = (key: keyof ReplayStamp): boolean => one?.[key] === other?.[key];
  return isSame('runId') && isSame('mode') && isSame('ruleVersion');
}

export interface ParsedChunk extends Chunk {
  readonly entries: readonly BatchEntry[];
}

/**
 * Parses the records of `chunk` up to the first that this program can't decode: what precedes it is applied first, so that
 * a halted partition stands exactly at that record.
 * @throws UnknownEventSchemaError, SinkDefectError at the first record: the partition must halt
 */
export function parseChunk({ records, kinds, replay }: Chunk, place: TopicPartition): ParsedChunk {
  const entries: BatchEntry[] = [];
  for (const [index, record] of records.entries()) {
    try {
      const entry = parseRecord(record, kinds[index]!);
      if (entry !== undefined) entries.push(entry);
    } catch (error) {
      if (index > 0) return { records: records.slice(0, index), kinds: kinds.slice(0, index), replay, entries };
      const at = { ...place, offset: record.offset };
      throw error instanceof UnknownSchemaError
        ? new UnknownEventSchemaError(at, error)
        : new SinkDefectError(at, error);
    }
  }
  return { records, kinds, replay, entries };
}

/** Undefined for a record without effect. Throws UnknownSchemaError and unexpected errors. */
export function parseRecord(record: LogRecord, kind: RecordKind): BatchEntry | undefined {
  const { offset, key, value, headers } = record;
  const traceparent = headers[TRACEPARENT]?.toString('latin1');
  const place = traceparent === undefined ? { offset } : { offset, traceparent };
  const park = (reason: string): BatchEntry => ({ kind: 'unreadable', ...place, key, value, reason });
  if (kind === 'progress') return undefined;
  if (kind === 'unmarked') return park('the record is not from the replay tool');
  try {
    if (kind === 'end') return { kind: 'replay-end', offset, tally: parseReplayEnd(value ?? Buffer.alloc(0)) };
    if (value === null) return park('the record has no value');
    const event = decodeOrderPlaced(value);
    const isOfUser = key?.toString('utf8') === event.userId;
    return isOfUser ? { kind: 'order', ...place, event } : park('the key is not the userId of the order');
  } catch (error) {
    if (error instanceof MalformedEventError || error instanceof MalformedReplayEndError) return park(error.message);
    throw error;
  }
}

/** Sums the orders of a run, readable or not: what arrived, to compare with what was sent. */
export function tallyOrders({ records, kinds }: Chunk): ReplayTally {
  let tally = EMPTY_TALLY;
  for (const [index, { key, value }] of records.entries()) {
    if (kinds[index] === 'order' && key !== null && value !== null) tally = addToTally(tally, key, value);
  }
  return tally;
}
