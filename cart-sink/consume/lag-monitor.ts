/**
 * Looks, every few seconds, at where the owned partitions stand: how far behind Kafka, and whether both Kafka and the
 * carts database still hold what was applied.
 *
 * Guarantees: what no fetch would ever show is noticed while no record comes. A partition that ends before what was
 * consumed (deleted and created anew), or begins after it (retention), is a gap (I11); a carts database that holds less
 * than it has confirmed (a failover) has to be given it again (I8). It only suspects: who is the owner, and where, is for
 * the checks of a new membership to tell. A look that fails is counted by its consequences elsewhere: the consumer that
 * uses the same servers.
 */
import type { Logger } from '#service/logger.ts';
import type { TopicPartition } from '../apply/ownership.ts';
import type { NextOffsetRow } from '../sql/read-next-offsets.ts';
import { judgeStart, type PartitionRange } from './offset-checks.ts';
import type { PartitionConsumer } from './owned-partition.ts';

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
  /** Waits for nothing: what a look under way finds is ignored. */
  close(): void;
}

export interface LagMonitorOptions {
  readonly everyMs: number;
  readonly partitions: () => readonly PartitionConsumer[];
  readonly readRanges: (topic: string) => Promise<ReadonlyMap<number, PartitionRange & { lastStable: bigint }>>;
  /** What the carts database holds for these topics now. */
  readonly readNextOffsets: (topics: readonly string[]) => Promise<readonly NextOffsetRow[]>;
  readonly onLook: (lags: readonly PartitionLag[]) => Promise<void>;
  /** Kafka or the carts database does not hold what was applied of the partition. */
  readonly onOutOfStep: (partition: TopicPartition) => void;
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
  /** A new leader may seem to end too early for a moment, so a gap must be the same in two looks, seconds apart. */
  let suspected = new Set<string>();
  let closed = false;

  /** Read before what they are compared with: positions only grow, so what is behind them later has gone back. */
  const readStandings = (): readonly Standing[] =>
    options.partitions().map((consumer) => ({ consumer, position: consumer.position() }));
  const topicsOf = (standings: readonly Standing[]) =>
    Map.groupBy(standings, ({ consumer }) => consumer.ownership.topic);

  const lookAtKafka = async (): Promise<void> => {
    const found: PartitionLag[] = [];
    const gaps = new Map<string, TopicPartition>();
    for (const [topic, standings] of topicsOf(readStandings())) {
      const idle = new Set(standings.filter(({ consumer }) => consumer.isIdle()));
      const ranges = await options.readRanges(topic);
      for (const standing of standings) {
        const { consumer, position } = standing;
        const range = ranges.get(consumer.ownership.partition);
        if (range === undefined) continue;
        found.push(measure(consumer, range.lastStable, options.now()));
        // What is in the sink's hands may be gone from Kafka, and still be applied.
        const isGap = idle.has(standing) && judgeStart(position, range) !== 'continues';
        if (isGap) gaps.set(`${keyOf(consumer.ownership)} at ${position}`, consumer.ownership);
      }
    }
    if (closed) return;
    lags = found;
    const lasting = [...gaps].find(([key]) => suspected.has(key));
    suspected = new Set(gaps.keys());
    if (lasting !== undefined) options.onOutOfStep(lasting[1]);
    await options.onLook(found);
  };

  const lookAtCarts = async (): Promise<void> => {
    const standings = readStandings();
    if (standings.length === 0) return;
    const rows = await options.readNextOffsets([...topicsOf(standings).keys()]);
    const stored = new Map(rows.map((row) => [keyOf(row), row.next_offset]));
    const wentBack = standings.find(
      ({ consumer, position }) => (stored.get(keyOf(consumer.ownership)) ?? 0n) < position,
    );
    if (wentBack !== undefined && !closed) options.onOutOfStep(wentBack.consumer.ownership);
  };

  // Each on its own: neither waits for a server that only the other one needs.
  const stops = [lookAtKafka, lookAtCarts].map((look) =>
    repeat(options.everyMs, look, (error) => {
      if (closed) return;
      options.logger.debug({ event: 'sink.lag-unknown', err: error }, 'where partitions stand could not be read');
    }),
  );

  return {
    current: () => {
      const owned = new Set(options.partitions().map(({ ownership }) => keyOf(ownership)));
      return lags.filter((lag) => owned.has(keyOf(lag)));
    },
    close: () => {
      closed = true;
      for (const stop of stops) stop();
    },
  };
}

/** Looks again and again, each time `everyMs` after the look before; returns what ends it. */
function repeat(everyMs: number, look: () => Promise<void>, onError: (error: unknown) => void): () => void {
  let stopped = false;
  const tick = async (): Promise<void> => {
    await look().catch(onError);
    if (!stopped) timer = setTimeout(tick, everyMs);
  };
  let timer = setTimeout(tick, everyMs);
  return () => {
    stopped = true;
    clearTimeout(timer);
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
