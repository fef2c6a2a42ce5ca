/**
 * Looks, every few seconds, at where the owned partitions stand: how far behind Kafka, and whether both Kafka and the
 * carts database still hold what was applied.
 *
 * Guarantees: what no fetch would ever show is noticed while no record comes. A partition that ends before what was
 * consumed (deleted and created anew), or begins after it (retention), is a gap (I11); a carts database that holds less
 * than was committed to it (a failover) has to be given it again (I8). Leaves to the pipeline: what to do about it. A look
 * that fails is counted by its consequences elsewhere: the consumer that uses the same servers.
 */
import type { HaltError } from '#service/halt.ts';
import type { Logger } from '#service/logger.ts';
import type { PartitionConsumer } from './consume-partition.ts';
import { OffsetBeyondEndError, RecordsLostError } from './errors.ts';
import { judgeStart, type PartitionRange } from './offset-continuity.ts';
import type { TopicPartition } from './partition-owner.ts';
import type { NextOffsetRow } from './sql/read-next-offsets.ts';

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
  /** Whether no fetched record waits to be applied: one that does may have been deleted from Kafka since. */
  readonly isIdle: () => boolean;
  readonly readRanges: (topic: string) => Promise<ReadonlyMap<number, PartitionRange & { lastStable: bigint }>>;
  /** What the carts database holds for these topics now. */
  readonly readNextOffsets: (topics: readonly string[]) => Promise<readonly NextOffsetRow[]>;
  readonly onLook: (lags: readonly PartitionLag[]) => Promise<void>;
  /** Kafka does not continue what was applied. */
  readonly onGap: (error: HaltError) => void;
  /** The carts database holds less of this partition than it has confirmed. */
  readonly onWentBack: (partition: TopicPartition) => void;
  readonly now: () => number;
  readonly logger: Logger;
}

interface Standing {
  readonly consumer: PartitionConsumer;
  readonly position: bigint;
}

const keyOf = ({ topic, partition }: TopicPartition): string => `${topic}[${partition}]`;

export function createLagMonitor(options: LagMonitorOptions): LagMonitor {
  let lags: readonly PartitionLag[] = [];
  let looking: Promise<void> = Promise.resolve();
  /** A new leader may seem to end too early for a moment, so a gap must be the same in two looks, seconds apart. */
  let suspected = new Set<string>();
  let closed = false;

  /** Read before what they are compared with: positions only grow, so what is behind them later has gone back. */
  const readStandings = (): readonly Standing[] =>
    options.partitions().map((consumer) => ({ consumer, position: consumer.position() }));

  const lookAtKafka = async (): Promise<void> => {
    const standings = readStandings();
    const isIdle = options.isIdle();
    const found: PartitionLag[] = [];
    const gaps = new Map<string, HaltError>();
    for (const [topic, group] of Map.groupBy(standings, ({ consumer }) => consumer.ownership.topic)) {
      const ranges = await options.readRanges(topic);
      for (const standing of group) {
        const range = ranges.get(standing.consumer.ownership.partition);
        if (range === undefined) continue;
        const gap = findGap(standing, range, isIdle);
        if (gap !== undefined) gaps.set(`${keyOf(standing.consumer.ownership)} ${standing.position} ${gap.code}`, gap);
        found.push(measure(standing.consumer, range.lastStable, options.now()));
      }
    }
    lags = found;
    const lasting = [...gaps.keys()].find((key) => suspected.has(key));
    suspected = new Set(gaps.keys());
    if (lasting !== undefined) options.onGap(gaps.get(lasting)!);
    await options.onLook(found);
  };

  const lookAtCarts = async (): Promise<void> => {
    const standings = readStandings();
    if (standings.length === 0) return;
    const rows = await options.readNextOffsets([...new Set(standings.map(({ consumer }) => consumer.ownership.topic))]);
    const stored = new Map(rows.map((row) => [keyOf(row), row.next_offset]));
    const wentBack = standings.find(
      ({ consumer, position }) => (stored.get(keyOf(consumer.ownership)) ?? 0n) < position,
    );
    if (wentBack !== undefined) options.onWentBack(wentBack.consumer.ownership);
  };

  const tick = async (): Promise<void> => {
    // Neither waits for a server that only the other one needs.
    for (const result of await Promise.allSettled([lookAtKafka(), lookAtCarts()])) {
      if (result.status === 'fulfilled') continue;
      const err = result.reason;
      options.logger.debug({ event: 'sink.lag-unknown', err }, 'where partitions stand could not be read');
    }
    if (!closed) timer = setTimeout(begin, options.everyMs);
  };
  const begin = (): void => {
    looking = tick();
  };
  let timer = setTimeout(begin, options.everyMs);

  return {
    current: () => {
      const owned = new Set(options.partitions().map(({ ownership }) => keyOf(ownership)));
      return lags.filter((lag) => owned.has(keyOf(lag)));
    },
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await looking;
    },
  };
}

function findGap({ consumer, position: expected }: Standing, range: PartitionRange, isIdle: boolean) {
  const { topic, partition, lastCommitLsn } = consumer.ownership;
  const verdict = judgeStart(expected, range);
  const gap = { topic, partition, expected, lastCommitLsn, ...range };
  if (verdict === 'beyond-end') return new OffsetBeyondEndError(gap);
  return verdict === 'records-lost' && isIdle ? new RecordsLostError(gap) : undefined;
}

function measure(consumer: PartitionConsumer, lastStable: bigint, nowMs: number): PartitionLag {
  const { topic, partition } = consumer.ownership;
  const nextOffset = consumer.position();
  const records = lastStable > nextOffset ? lastStable - nextOffset : 0n;
  const committedAt = consumer.lastCommittedAt();
  const ageSeconds = committedAt === undefined ? undefined : Math.max(0, nowMs / 1_000 - Number(committedAt) / 1e6);
  return { topic, partition, nextOffset, records, seconds: records === 0n ? 0 : ageSeconds };
}
