/**
 * What the records of a chunk are to a batch: cut where one replay ends and another begins, parsed, and summed. Pure.
 *
 * Guarantees that a batch is of one run, or of none; that whatever is not the tool's, or not what it claims to be, is
 * parked; that progress records have no effect. Whether a run may be applied here is decided before anything is parsed.
 */
import type { SinkEntry } from '../apply/batch.ts';
import {
  addToTally,
  EMPTY_TALLY,
  MalformedReplayEndError,
  parseReplayEnd,
  parseReplayHeaders,
  type ReplayKind,
  type ReplayStamp,
  type ReplayTally,
} from '../replay-records.ts';
import { type KafkaRecord, parseEntry } from './parked.ts';

/** live: of the live topic. unmarked: of the replay topic, but not the tool's. */
export type RecordKind = ReplayKind | 'live' | 'unmarked';

export interface Chunk {
  readonly records: readonly KafkaRecord[];
  /** One for each record. */
  readonly kinds: readonly RecordKind[];
  /** The run that all records are of; null: of none. */
  readonly replay: ReplayStamp | null;
}

/** Records of the live topic belong together always. */
export function cutLiveChunk(records: readonly KafkaRecord[]): Chunk {
  return { records, kinds: records.map(() => 'live'), replay: null };
}

/** As many records of the replay topic, from the first on, as are of one run, or of none. */
export function cutReplayChunk(records: readonly KafkaRecord[]): Chunk {
  const kinds: RecordKind[] = [];
  let replay: ReplayStamp | null = null;
  for (const { headers = {} } of records) {
    const { stamp = null, kind = 'unmarked' } = parseReplayHeaders(headers) ?? {};
    if (kinds.length === 0) replay = stamp;
    else if (!isSameRun(replay, stamp)) break;
    kinds.push(kind);
  }
  return { records: records.slice(0, kinds.length), kinds, replay };
}

function isSameRun(one: ReplayStamp | null, other: ReplayStamp | null): boolean {
  const isSame = (key: keyof ReplayStamp): boolean => one?.[key] === other?.[key];
  return isSame('runId') && isSame('mode') && isSame('ruleVersion');
}

/** Undefined for a record without effect. Throws as {@link parseEntry} does. */
export function parseRecord(record: KafkaRecord, kind: RecordKind): SinkEntry | undefined {
  const { offset, key, value } = record;
  const unreadable = (reason: string): SinkEntry => ({ kind: 'unreadable', offset, key, value, reason });
  switch (kind) {
    case 'live':
    case 'order':
      return parseEntry(record);
    case 'progress':
      return undefined;
    case 'unmarked':
      return unreadable('the record is not from the replay tool');
    case 'end':
      try {
        return { kind: 'replay-end', offset, tally: parseReplayEnd(value ?? Buffer.alloc(0)) };
      } catch (error) {
        if (error instanceof MalformedReplayEndError) return unreadable(error.message);
        throw error;
      }
  }
}

/** The sum of a run's orders, whether or not they can be read: what arrived, to compare with what was sent. */
export function tallyOrders({ records, kinds }: Chunk): ReplayTally {
  let tally = EMPTY_TALLY;
  for (const [index, { key, value }] of records.entries()) {
    if (kinds[index] === 'order' && key !== null && value !== null) tally = addToTally(tally, key, value);
  }
  return tally;
}
