/**
 * One owned partition: every fetch is checked against what comes next, cut into chunks, decoded, and applied in order.
 *
 * Guarantees: fetches of a partition are applied one after the other, none before it was shown to continue the last
 * (I11); the position moves only when the carts database has committed. After a failure, or under another owner, the
 * partition takes nothing more: a new assignment has to read from the database where it stands. At a replay that this
 * sink must not apply it takes nothing more until it is released.
 */
import { UnknownSchemaError } from '#schemas/codec.ts';
import type { ReliableResult } from '../apply/apply-reliably.ts';
import type { Batch, SinkEntry } from '../apply/batch.ts';
import type { Ownership, SettledOffset } from '../apply/ownership.ts';
import { OffsetWentBackError, RecordsLostError, SinkDefectError, UnknownEventSchemaError } from '../errors.ts';
import { EMPTY_TALLY, type ReplayStamp } from '../replay-records.ts';
import { judgeFetch } from './offset-checks.ts';
import type { KafkaRecord } from './parked.ts';
import {
  type Chunk,
  cutLiveChunk,
  cutReplayChunk,
  parseRecord,
  type RecordKind,
  tallyOrders,
} from './parse-records.ts';
import { createRecentRecords } from './recent-records.ts';
import type { ReplayJudge, ReplayVerdict } from './replay-admission.ts';
import { type ChunkLimits, countChunk } from './split-batch.ts';

export interface FetchedRecords {
  readonly firstOffset: bigint;
  readonly lastOffset: bigint;
  /** Empty when the fetch held only control or aborted records. */
  readonly records: readonly KafkaRecord[];
}

export type PartitionEnd = { readonly kind: 'stale-owner' } | { readonly kind: 'failed'; readonly error: unknown };

export interface PartitionConsumer {
  readonly ownership: Ownership;
  /** The next offset to apply: what the database holds. */
  position(): bigint;
  /** Whether no fetch is being applied. */
  isIdle(): boolean;
  /** When the newest applied order was committed in the orders database, in µs since 1970; undefined before the first. */
  lastCommittedAt(): bigint | undefined;
  /** Applies a fetch after those before it. `passed` hears of every offset that the database has gone past. */
  consume(fetched: FetchedRecords, passed: (lastOffset: bigint) => void, signal: AbortSignal): Promise<void>;
  /** The run that has to wait, from when it was first met until it was gone past. */
  held(): ReplayStamp | undefined;
  /** Lets a held partition take fetches from its position on, and judge again. */
  release(): void;
}

export interface PartitionOptions {
  readonly ownership: Ownership;
  readonly consumerGroup: string;
  /** Whether a run's records may be applied; undefined for the live topic, which has none. */
  readonly judgeReplay: ReplayJudge | undefined;
  readonly limits: ChunkLimits;
  readonly apply: (batch: Batch, signal: AbortSignal) => Promise<ReliableResult>;
  readonly readEarliest: () => Promise<bigint>;
  /** What the carts database holds for the partition. */
  readonly readSettled: () => Promise<SettledOffset | undefined>;
  readonly onApplied: (batch: Batch, result: ReliableResult & { kind: 'applied' }) => void;
  /** The next record is of this run, which has to wait: fetches are ignored until `release`. */
  readonly onHeld: (replay: ReplayStamp) => void;
  /** Told once; the partition is closed from then on. Halts come as `failed` with a HaltError. */
  readonly onEnd: (end: PartitionEnd) => void;
}

export function createPartitionConsumer(options: PartitionOptions): PartitionConsumer {
  const { ownership, consumerGroup } = options;
  const { topic, partition } = ownership;
  let position = ownership.nextOffset;
  let maxRecords = options.limits.maxRecords;
  let committedAt: bigint | undefined;
  let closed = false;
  let held: ReplayStamp | undefined;
  let waiting = false;
  const cut = options.judgeReplay === undefined ? cutLiveChunk : cutReplayChunk;
  const recent = createRecentRecords();
  let tail: Promise<void> = Promise.resolve();
  let fetchesInProgress = 0;

  const end = (reason: PartitionEnd): void => {
    closed = true;
    options.onEnd(reason);
  };

  /**
   * A gap counts only for who still owns the partition: a sink that woke from a long stop may ask for records that its
   * successor has applied and retention has deleted since.
   */
  const requireOwner = async (): Promise<boolean> => {
    const settled = await options.readSettled();
    const isOwner = settled?.ownerEpoch === ownership.ownerEpoch && settled.nextOffset === position;
    if (!isOwner) end({ kind: 'stale-owner' });
    return isOwner;
  };

  /** What to do with a fetch: apply it, pass over one that was delivered before, or stop where another owner goes on. */
  const checkContinuity = async (fetched: FetchedRecords): Promise<'apply' | 'pass-over' | 'stop'> => {
    const { firstOffset, lastOffset, records } = fetched;
    const verdict = judgeFetch(position, firstOffset);
    if (verdict === 'continues') return 'apply';
    const lost = { topic, partition, expected: position };
    if (verdict === 'went-back') {
      const [first] = records;
      // Without a record there is nothing to tell it by and nothing to lose: the next fetch shows where kafkajs is.
      if (first === undefined ? lastOffset < position : recent.has(first)) return 'pass-over';
      if (!(await requireOwner())) return 'stop';
      throw new OffsetWentBackError({ ...lost, fetched: firstOffset });
    }
    const earliest = await options.readEarliest();
    if (earliest <= position) return 'apply';
    if (!(await requireOwner())) return 'stop';
    throw new RecordsLostError({ ...lost, earliest, lastCommitLsn: ownership.lastCommitLsn });
  };

  const parse = (record: KafkaRecord, kind: RecordKind): SinkEntry | undefined => {
    try {
      return parseRecord(record, kind);
    } catch (error) {
      const at = { topic, partition, offset: record.offset };
      if (error instanceof UnknownSchemaError) throw new UnknownEventSchemaError(at, error);
      throw new SinkDefectError(at, error);
    }
  };

  const judge = async (replay: ReplayStamp, signal: AbortSignal): Promise<ReplayVerdict | 'interrupted'> => {
    try {
      return await options.judgeReplay!(replay, signal);
    } catch (error) {
      if (signal.aborted) return 'interrupted';
      throw error;
    }
  };

  /** Returns false when nothing may follow. */
  const applyChunk = async (chunk: Chunk, nextOffset: bigint, signal: AbortSignal): Promise<boolean> => {
    const { records, kinds, replay } = chunk;
    const verdict = replay === null ? 'apply' : await judge(replay, signal);
    if (verdict === 'interrupted') return false;
    if (verdict === 'hold') {
      held = replay!;
      waiting = true;
      options.onHeld(held);
      return false;
    }
    const parsed = verdict === 'apply' ? records.map((record, index) => parse(record, kinds[index]!)) : [];
    const entries = parsed.filter((entry) => entry !== undefined);
    const newest = entries.findLast((entry) => entry.kind === 'order')?.event;
    const batch: Batch = {
      consumerGroup,
      topic,
      partition,
      ownerEpoch: ownership.ownerEpoch,
      expectedOffset: position,
      nextOffset,
      entries,
      replay: verdict === 'apply' ? replay : null,
      tally: verdict === 'apply' ? tallyOrders(chunk) : EMPTY_TALLY,
    };
    const result = await options.apply(batch, signal);
    if (result.kind === 'too-slow') {
      maxRecords = Math.max(1, Math.floor(records.length / 2));
      return true;
    }
    if (result.kind === 'stale-owner') end(result);
    // Interrupted: should the database have gone on after all, then the next batch finds no row, as a stale owner does.
    if (result.kind !== 'applied') return false;
    if (records.length > 0) recent.note(records[0]!);
    position = nextOffset;
    committedAt = newest?.committedAt ?? committedAt;
    maxRecords = Math.min(options.limits.maxRecords, maxRecords * 2);
    held = undefined;
    options.onApplied(batch, result);
    return true;
  };

  const consumeNow: PartitionConsumer['consume'] = async (fetched, passed, signal) => {
    const { lastOffset, records } = fetched;
    const verdict = await checkContinuity(fetched);
    if (verdict === 'stop') return;
    if (verdict === 'pass-over') return passed(position - 1n);
    let done = 0;
    while (!closed && !signal.aborted && position <= lastOffset) {
      const count = countChunk(records, done, { ...options.limits, maxRecords });
      const chunk = cut(records.slice(done, done + count));
      const end = done + chunk.records.length;
      const nextOffset = (end === records.length ? lastOffset : chunk.records.at(-1)!.offset) + 1n;
      if (!(await applyChunk(chunk, nextOffset, signal))) return;
      if (position !== nextOffset) continue;
      done = end;
      passed(nextOffset - 1n);
    }
  };

  return {
    ownership,
    position: () => position,
    isIdle: () => fetchesInProgress === 0,
    lastCommittedAt: () => committedAt,
    consume: (fetched, passed, signal) => {
      fetchesInProgress += 1;
      tail = tail.then(async () => {
        try {
          if (closed || waiting || signal.aborted) return;
          await consumeNow(fetched, passed, signal);
        } catch (error) {
          if (!closed) end({ kind: 'failed', error });
        } finally {
          fetchesInProgress -= 1;
        }
      });
      return tail;
    },
    held: () => held,
    release: () => {
      waiting = false;
    },
  };
}
