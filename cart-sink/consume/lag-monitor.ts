/**
 * Measures, every few seconds, how far the owned partitions are behind Kafka, and checks that Kafka and the carts
 * database still hold what was applied.
 *
 * Guarantees that an idle sink notices what no fetch would show: a partition that ends before what was consumed, or a topic
 * with another id (recreated), or one that begins after it (retention) is a gap (I11); a carts database that holds less than it has committed (a
 * failover) needs the records again (I8); a halted partition that an operator has moved can continue. It only reports
 * divergence: the checks of the next session decide.
 */
import type { Logger } from '#service/logger.ts';
import type { NextOffsetRow, TopicPartition } from '../sql/consumer-offsets.ts';
import { checkStart, isOtherTopic, type PartitionRange } from './offset-checks.ts';
import type { OwnedPartition } from './owned-partition.ts';
import { PositionClock } from './position-clock.ts';

export interface PartitionLag {
  readonly topic: string;
  readonly partition: number;
  readonly nextOffset: bigint;
  /** Offsets up to the last stable offset that are not applied. */
  readonly records: bigint;
  /** Since when the oldest record that is not applied has been in Kafka; undefined where it was there before this session. */
  readonly behindSinceMs: number | undefined;
  /** That in seconds, else the age of the last applied order; 0 without a lag, undefined while neither is known. */
  readonly seconds: number | undefined;
}

export interface LagMonitor {
  /** The last measurement, without partitions that were revoked since. */
  current(): readonly PartitionLag[];
  /** Waits for nothing: the result of a measurement in progress is ignored. */
  close(): void;
}

type MonitoredPartition = Pick<OwnedPartition, 'ownership' | 'position' | 'isIdle' | 'halted' | 'lastCommittedAt'>;

export interface LagMonitorOptions {
  readonly everyMs: number;
  readonly partitions: () => readonly MonitoredPartition[];
  readonly readRanges: (topic: string) => Promise<ReadonlyMap<number, PartitionRange & { lastStable: bigint }>>;
  /** Kafka's id of the topic; null where the brokers have none. */
  readonly readTopicId: (topic: string) => Promise<string | null>;
  /** What the carts database holds for these topics now. */
  readonly readNextOffsets: (topics: readonly string[]) => Promise<readonly NextOffsetRow[]>;
  readonly onMeasured: (lags: readonly PartitionLag[]) => Promise<void>;
  /** Kafka or the carts database does not hold what was applied from the partition, or a halted one was moved. */
  readonly onDiverged: (partition: TopicPartition) => void;
  readonly now: () => number;
  readonly logger: Logger;
}

interface Standing {
  readonly consumer: MonitoredPartition;
  readonly position: bigint;
}

const keyOf = ({ topic, partition }: TopicPartition): string => `${topic}[${partition}]`;

export function createLagMonitor(options: LagMonitorOptions): LagMonitor {
  let lags: readonly PartitionLag[] = [];
  const clocks = new Map<string, PositionClock>();
  /** A broker may not know the end of a partition, or the id of a topic, for a moment: a gap must be found twice. */
  let lastGaps = new Set<string>();
  let closed = false;

  /** Read before what they are compared with: positions only grow, so whatever is behind them later went back. */
  const readStandings = (): readonly Standing[] =>
    options.partitions().map((consumer) => ({ consumer, position: consumer.position() }));
  const topicsOf = (standings: readonly Standing[]) =>
    Map.groupBy(standings, ({ consumer }) => consumer.ownership.topic);

  const measureKafka = async (): Promise<void> => {
    const found: PartitionLag[] = [];
    const gaps = new Map<string, TopicPartition>();
    for (const [topic, standings] of topicsOf(readStandings())) {
      const idle = new Set(standings.filter(({ consumer }) => consumer.isIdle()));
      const topicId = await options.readTopicId(topic);
      const ranges = await options.readRanges(topic);
      for (const standing of standings) {
        const { consumer, position } = standing;
        const range = ranges.get(consumer.ownership.partition);
        if (range === undefined) continue;
        const clock = clocks.getOrInsertComputed(keyOf(consumer.ownership), () => new PositionClock());
        found.push(measure(consumer, range.lastStable, clock, options.now()));
        // Records that were fetched may be deleted from Kafka and still be applied.
        const isGap = idle.has(standing) && !consumer.halted() && checkStart(position, range) !== 'continues';
        if (isGap) gaps.set(`${keyOf(consumer.ownership)} at ${position}`, consumer.ownership);
      }
      const recreated = standings.find(({ consumer }) => isOtherTopic(consumer.ownership.topicId, topicId));
      if (recreated !== undefined) gaps.set(`${topic} with id ${topicId}`, recreated.consumer.ownership);
    }
    if (closed) return;
    lags = found;
    const lasting = [...gaps].find(([key]) => lastGaps.has(key));
    lastGaps = new Set(gaps.keys());
    if (lasting !== undefined) options.onDiverged(lasting[1]);
    await options.onMeasured(found);
  };

  const checkCarts = async (): Promise<void> => {
    const standings = readStandings();
    if (standings.length === 0) return;
    const rows = await options.readNextOffsets([...topicsOf(standings).keys()]);
    const stored = new Map(rows.map((row) => [keyOf(row), row.next_offset]));
    const diverged = standings.find(({ consumer, position }) => {
      const next = stored.get(keyOf(consumer.ownership)) ?? 0n;
      // It stores nothing itself, so whoever has moved it has fenced this sink.
      const wasMoved = consumer.halted() !== undefined && next > position;
      return next < position || wasMoved;
    });
    if (diverged !== undefined && !closed) options.onDiverged(diverged.consumer.ownership);
  };

  // Separately: neither waits for a server that only the other one needs.
  const stops = [measureKafka, checkCarts].map((work) =>
    repeat(options.everyMs, work, (error) => {
      if (closed) return;
      options.logger.debug({ event: 'sink.lag-unknown', err: error }, 'Could not measure the lag of the partitions.');
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

/** Runs `work` `everyMs` after it last ended, until the returned function is called. */
function repeat(everyMs: number, work: () => Promise<void>, onError: (error: unknown) => void): () => void {
  let stopped = false;
  const tick = async (): Promise<void> => {
    await work().catch(onError);
    if (!stopped) timer = setTimeout(tick, everyMs);
  };
  let timer = setTimeout(tick, everyMs);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** The age of the last applied order is no lag of its own: after an idle hour it is an hour. */
function measure(consumer: MonitoredPartition, lastStable: bigint, clock: PositionClock, nowMs: number): PartitionLag {
  const { topic, partition } = consumer.ownership;
  const nextOffset = consumer.position();
  const records = lastStable > nextOffset ? lastStable - nextOffset : 0n;
  clock.seen(lastStable, nowMs);
  const passed = clock.passed(nextOffset);
  const behindSinceMs = passed?.isExact === true ? passed.atMs : undefined;
  const committedAt = consumer.lastCommittedAt();
  const sinceMs = behindSinceMs ?? (committedAt === undefined ? undefined : Number(committedAt) / 1_000);
  const seconds = sinceMs === undefined ? undefined : Math.max(0, nowMs - sinceMs) / 1_000;
  return { topic, partition, nextOffset, records, behindSinceMs, seconds: records === 0n ? 0 : seconds };
}
