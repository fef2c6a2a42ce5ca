/**
 * One membership in the consumer group: takes over what the group assigns, and gives each fetch to its partition.
 *
 * Guarantees: nothing is fetched before the carts database has named us the owner and Kafka was found to continue what
 * it holds (I6, I11); it ends once, with a reason, and applies nothing more from then on. Leaves to sink.ts: what
 * follows an end. An assignment replaces the one before as a whole, as kafkajs's groups do.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { failpoint } from '#service/failpoint.ts';
import { HaltError } from '#service/halt.ts';
import type { Ownership, TopicPartition } from '../apply/ownership.ts';
import { OffsetBeyondEndError, RecordsLostError } from '../errors.ts';
import type { GroupConsumer, GroupHandlers } from '../kafka/group-consumer.ts';
import type { ReplayStamp } from '../replay-records.ts';
import { judgeStart, type PartitionRange } from './offset-checks.ts';
import type { PartitionConsumer, PartitionEnd, PartitionOptions } from './owned-partition.ts';
import { HOLD_LOOK_EVERY_MS } from './replay-admission.ts';

export type MembershipEnd =
  | { readonly kind: 'closed' }
  | { readonly kind: 'halted'; readonly error: HaltError }
  | { readonly kind: 'stale-owner'; readonly topic: string; readonly partition: number }
  /** Kafka or the carts database seems not to hold what was applied of the partition: the next start's checks tell. */
  | { readonly kind: 'out-of-step'; readonly topic: string; readonly partition: number }
  | { readonly kind: 'topics-changed' }
  /** Kafka, its client or its group failed. */
  | { readonly kind: 'failed'; readonly error: unknown };

export interface Membership {
  readonly ended: Promise<MembershipEnd>;
  /** The partitions that are owned now. */
  partitions(): readonly PartitionConsumer[];
  end(reason: MembershipEnd): void;
  /** Tells Kafka's lag tools how far the partitions are. */
  report(): Promise<void>;
  /** Ends it if it has not ended, and leaves the group. */
  close(): Promise<void>;
}

export interface MembershipOptions {
  readonly createConsumer: (handlers: GroupHandlers) => GroupConsumer;
  /** Retries what passes until `signal` is aborted; then rejects. */
  readonly takeOwnership: (partitions: readonly TopicPartition[], signal: AbortSignal) => Promise<readonly Ownership[]>;
  /** What Kafka holds of each partition of `topic`. */
  readonly readRanges: (topic: string) => Promise<ReadonlyMap<number, PartitionRange>>;
  readonly createPartition: (
    ownership: Ownership,
    handlers: Pick<PartitionOptions, 'onEnd' | 'onHeld'>,
  ) => PartitionConsumer;
  /** A partition waits because of this run, not for the first time perhaps. */
  readonly onHeld: (partition: TopicPartition, replay: ReplayStamp) => void;
  readonly onAssigned: (owned: readonly Ownership[], lost: readonly TopicPartition[]) => void;
}

const keyOf = ({ topic, partition }: TopicPartition): string => `${topic}[${partition}]`;

export function createMembership(options: MembershipOptions): Membership {
  const { promise: ended, resolve } = Promise.withResolvers<MembershipEnd>();
  let owned = new Map<string, PartitionConsumer>();
  let lastOwned: readonly Ownership[] = [];
  /** Aborted when the assignment it belongs to is replaced, or the membership ends. */
  let assignment = new AbortController();
  let over = false;

  const end = (reason: MembershipEnd): void => {
    if (over) return;
    over = true;
    assignment.abort();
    resolve(reason);
  };

  const assign = async (partitions: readonly TopicPartition[], signal: AbortSignal): Promise<void> => {
    const taken = partitions.length === 0 ? [] : await options.takeOwnership(partitions, signal);
    await failpoint('sink.taken-over');
    await requireContinuity(options, taken, signal);
    if (signal.aborted) return;
    const createPartition = (ownership: Ownership): PartitionConsumer => {
      const partition = options.createPartition(ownership, {
        onEnd: (reason) => {
          if (!signal.aborted) end(judgePartitionEnd(ownership, reason));
        },
        onHeld: (replay) => {
          if (!signal.aborted) hold(partition, replay, signal);
        },
      });
      return partition;
    };
    owned = new Map(taken.map((ownership) => [keyOf(ownership), createPartition(ownership)]));
    const lost = lastOwned.filter((ownership) => !owned.has(keyOf(ownership)));
    lastOwned = taken;
    options.onAssigned(taken, lost);
    consumer.start(taken.map(({ topic, partition, nextOffset }) => ({ topic, partition, offset: nextOffset })));
  };

  /** Fetches nothing from the partition for a while, and then the record again that it waits at. */
  const hold = (partition: PartitionConsumer, replay: ReplayStamp, signal: AbortSignal): void => {
    const { topic, partition: number } = partition.ownership;
    consumer.pause({ topic, partition: number });
    options.onHeld(partition.ownership, replay);
    delay(HOLD_LOOK_EVERY_MS, undefined, { signal }).then(
      () => {
        partition.release();
        consumer.start([{ topic, partition: number, offset: partition.position() }]);
      },
      () => undefined,
    );
  };

  const onAssigned: GroupHandlers['onAssigned'] = (partitions) => {
    if (over) return;
    assignment.abort();
    assignment = new AbortController();
    owned = new Map();
    const { signal } = assignment;
    assign(partitions, signal).catch((error) => {
      if (!signal.aborted) end(judgeError(error));
    });
  };

  const onBatch: GroupHandlers['onBatch'] = async (batch, passed, signal) => {
    const partition = owned.get(keyOf(batch));
    if (over || partition === undefined) return;
    const current = assignment.signal;
    const either = eitherAborted(signal, current);
    const passedWhileOwned = (lastOffset: bigint): void => {
      // kafkajs keeps one position a partition: under a newer assignment it is not ours to move.
      if (!current.aborted) passed(lastOffset);
    };
    try {
      await partition.consume(batch, passedWhileOwned, either.signal);
    } finally {
      either.release();
    }
  };

  const consumer = options.createConsumer({
    onAssigned,
    onBatch,
    onSkipped: (batch) => void onBatch(batch, () => undefined, assignment.signal),
    onFailed: (error) => end({ kind: 'failed', error }),
  });

  return {
    ended,
    partitions: () => (over ? [] : [...owned.values()]),
    end,
    report: async () => {
      const positions = [...owned.values()].map(({ ownership, position }) => ({ ...ownership, offset: position() }));
      await consumer.report(positions);
    },
    close: async () => {
      end({ kind: 'closed' });
      await consumer.close();
    },
  };
}

/** A new leader may not know the high watermark of the old one for a moment, and so seem to end too early. */
const LOOKS_AT_THE_END = 3;
const BETWEEN_LOOKS_MS = 1_000;

/** @throws HaltError when a partition does not continue what the carts database holds. */
async function requireContinuity(
  { readRanges }: Pick<MembershipOptions, 'readRanges'>,
  taken: readonly Ownership[],
  signal: AbortSignal,
): Promise<void> {
  for (let look = 1; ; look += 1) {
    let beyondEnd: OffsetBeyondEndError | undefined;
    for (const [topic, ownerships] of Map.groupBy(taken, ({ topic }) => topic)) {
      const ranges = await readRanges(topic);
      for (const { partition, nextOffset: expected, lastCommitLsn } of ownerships) {
        const range = ranges.get(partition);
        if (range === undefined) throw new Error(`Kafka does not tell the offsets of ${topic}[${partition}]`);
        const verdict = judgeStart(expected, range);
        const found = { topic, partition, expected, lastCommitLsn, ...range };
        if (verdict === 'records-lost') throw new RecordsLostError(found);
        if (verdict === 'beyond-end') beyondEnd ??= new OffsetBeyondEndError(found);
      }
    }
    if (beyondEnd === undefined || signal.aborted) return;
    if (look === LOOKS_AT_THE_END) throw beyondEnd;
    await delay(BETWEEN_LOOKS_MS, undefined, { signal });
  }
}

function judgePartitionEnd({ topic, partition }: TopicPartition, end: PartitionEnd): MembershipEnd {
  return end.kind === 'stale-owner' ? { kind: 'stale-owner', topic, partition } : judgeError(end.error);
}

function judgeError(error: unknown): MembershipEnd {
  return error instanceof HaltError ? { kind: 'halted', error } : { kind: 'failed', error };
}

/** AbortSignal.any would leave a listener on the assignment's long-lived signal for every batch. */
function eitherAborted(first: AbortSignal, second: AbortSignal): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  for (const signal of [first, second]) signal.aborted ? abort() : signal.addEventListener('abort', abort);
  return {
    signal: controller.signal,
    release: () => {
      for (const signal of [first, second]) signal.removeEventListener('abort', abort);
    },
  };
}
