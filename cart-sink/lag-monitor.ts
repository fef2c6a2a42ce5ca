/**
 * Looks, every few seconds, at how far the owned partitions are behind, and whether the replay topic has appeared.
 *
 * Guarantees: a partition that ends before what was consumed is noticed although no fetch ever returns from it (I11:
 * the topic was deleted and created anew). Leaves to the pipeline: what to do about it. A look that fails is counted
 * by its consequences elsewhere: the consumer that uses the same brokers.
 */
import type { Logger } from '#service/logger.ts';
import type { PartitionConsumer } from './consume-partition.ts';
import { OffsetBeyondEndError } from './errors.ts';

export interface PartitionLag {
  readonly topic: string;
  readonly partition: number;
  readonly nextOffset: bigint;
  /** Offsets that read_committed consumers may read and that are not applied. */
  readonly records: bigint;
  /** Age of the last applied order while there is a lag, else 0; undefined while none was applied. */
  readonly seconds: number | undefined;
}

export interface LagMonitor {
  /** What the last look found; partitions given up since are left out. */
  current(): readonly PartitionLag[];
  close(): Promise<void>;
}

export interface LagMonitorOptions {
  readonly everyMs: number;
  readonly partitions: () => readonly PartitionConsumer[];
  readonly readEnds: (topic: string) => Promise<ReadonlyMap<number, { lastStable: bigint; highWatermark: bigint }>>;
  readonly onLook: (lags: readonly PartitionLag[]) => Promise<void>;
  readonly onBeyondEnd: (error: OffsetBeyondEndError) => void;
  readonly now: () => number;
  readonly logger: Logger;
}

/** A new leader may seem to end too early for a moment; two looks in a row are several seconds apart. */
const LOOKS_BEYOND_END = 2;

export function createLagMonitor(options: LagMonitorOptions): LagMonitor {
  let lags: readonly PartitionLag[] = [];
  let looking: Promise<void> = Promise.resolve();
  let looksBeyondEnd = 0;
  let closed = false;

  const look = async (): Promise<void> => {
    const found: PartitionLag[] = [];
    let beyondEnd: OffsetBeyondEndError | undefined;
    for (const [topic, partitions] of Map.groupBy(options.partitions(), ({ ownership }) => ownership.topic)) {
      // Read before the ends: a position read after them may have moved past them by then.
      const positions = partitions.map((partition) => ({ partition, before: partition.position() }));
      const ends = await options.readEnds(topic);
      for (const { partition: consumer, before } of positions) {
        const { partition, lastCommitLsn } = consumer.ownership;
        const end = ends.get(partition);
        if (end === undefined) continue;
        const place = { topic, partition, expected: before, lastCommitLsn };
        if (before > end.highWatermark) beyondEnd ??= new OffsetBeyondEndError({ ...place, ...end });
        found.push(measure(consumer, end.lastStable, options.now()));
      }
    }
    lags = found;
    looksBeyondEnd = beyondEnd === undefined ? 0 : looksBeyondEnd + 1;
    if (beyondEnd !== undefined && looksBeyondEnd >= LOOKS_BEYOND_END) options.onBeyondEnd(beyondEnd);
    await options.onLook(found);
  };

  const tick = async (): Promise<void> => {
    try {
      await look();
    } catch (error) {
      options.logger.debug({ event: 'sink.lag-unknown', err: error }, 'the lag could not be read');
    }
    if (!closed) timer = setTimeout(begin, options.everyMs);
  };
  const begin = (): void => {
    looking = tick();
  };
  let timer = setTimeout(begin, options.everyMs);

  return {
    current: () => {
      const owned = new Set(
        options.partitions().map(({ ownership: { topic, partition } }) => `${topic}[${partition}]`),
      );
      return lags.filter(({ topic, partition }) => owned.has(`${topic}[${partition}]`));
    },
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await looking;
    },
  };
}

function measure(consumer: PartitionConsumer, lastStable: bigint, nowMs: number): PartitionLag {
  const { topic, partition } = consumer.ownership;
  const nextOffset = consumer.position();
  const records = lastStable > nextOffset ? lastStable - nextOffset : 0n;
  const committedAt = consumer.lastCommittedAt();
  const ageSeconds = committedAt === undefined ? undefined : Math.max(0, nowMs / 1_000 - Number(committedAt) / 1e6);
  return { topic, partition, nextOffset, records, seconds: records === 0n ? 0 : ageSeconds };
}
