// What the reader reports: the constant names of its log events, and its metrics. LSN distances are bytes of WAL. Lag
// counts from what Kafka has committed, not from what was received, to the end of the server's WAL, not to what was sent:
// it shows a backlog that the reader can't see (lag-sampler.ts).
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { Metrics } from '#service/metrics.ts';
import { createFirstStartMetrics } from './first-start-metrics.ts';
import type { Group, Queue } from './pipeline/queue.ts';
import { createSlotMetrics } from './slot-metrics.ts';

export const READER_STREAMING = 'reader.streaming';
export const READER_STANDBY = 'reader.standby';
export const READER_WAITING = 'reader.waiting';
export const READER_CAPTURE_CHANGED = 'reader.capture-changed';
export const READER_TOPIC_ID_LEARNT = 'reader.topic-id-learnt';
export const READER_VISIBILITY_CHANGED = 'reader.visibility-changed';
export const READER_PRIVILEGE_MISSING = 'reader.privilege-missing';
export const READER_PUBLISHED = 'reader.published';
export const READER_RESTARTING = 'reader.restarting';
export const READER_FIRST_START = 'reader.first-start';
export const READER_FIRST_START_PROGRESS = 'reader.first-start-progress';
export const READER_DRAIN_ABANDONED = 'reader.drain-abandoned';
export const READER_CLOSE_ABANDONED = 'reader.close-abandoned';
export const READER_PARTITIONS_ADDED = 'reader.partitions-added';
export const READER_REPLAY_WINDOW = 'reader.replay-window';
export const READER_REPLAY_WINDOW_FAILED = 'reader.replay-window-failed';
export const READER_SLOT_AT_RISK = 'reader.slot-at-risk';

export type ReaderMetrics = ReturnType<typeof createReaderMetrics>;

/** @param nowMs milliseconds since 1970, to compare with the time of a commit */
export function createReaderMetrics(metrics: Metrics, nowMs: () => number = Date.now) {
  return {
    ignoredChanges: metrics.counter(
      'tillstream_reader_ignored_changes_total',
      'Changes of published tables that are not order inserts, by reason',
      ['reason'],
    ),
    droppedTransactions: metrics.counter(
      'tillstream_reader_dropped_transactions_total',
      'Transactions received again after a restart, and dropped because they were published',
    ),
    restarts: metrics.counter('tillstream_reader_restarts_total', 'Restarts after a failure, by reason', ['reason']),
    streaming: metrics.gauge('tillstream_reader_streaming', '1 while this reader holds the slot and publishes'),
    ...createPublishMetrics(metrics),
    ...createLagMetrics(metrics, nowMs),
    ...createReplayMetrics(metrics),
    ...createSlotMetrics(metrics, nowMs),
    ...createFirstStartMetrics(metrics),
  };
}

function createPublishMetrics(metrics: Metrics) {
  const orders = metrics.counter('tillstream_reader_orders_published_total', 'Orders that Kafka has committed');
  const transactions = metrics.counter(
    'tillstream_reader_transactions_published_total',
    'Database transactions with orders that Kafka has committed',
  );
  const groupOrders = metrics.histogram(
    'tillstream_reader_group_orders',
    'Orders in one Kafka transaction',
    [],
    [1, 2, 5, 10, 50, 100, 500, 1_000, 2_000, 4_000, 10_000, 100_000, 1_000_000],
  );
  const publishSeconds = metrics.histogram('tillstream_reader_publish_seconds', 'Duration of one Kafka transaction');
  return {
    readOrders: metrics.counter(
      'tillstream_reader_orders_read_total',
      'Orders received from the stream to be published; after a restart, some again',
    ),
    publishedGroup(group: Group, seconds: number): void {
      orders.inc(group.orders);
      transactions.inc(group.transactions);
      groupOrders.observe(group.orders);
      publishSeconds.observe(seconds);
    },
    /** Orders of the initial snapshot: they have no transaction, and no place in the stream. */
    publishedSnapshot(count: number): void {
      orders.inc(count);
    },
  };
}

function createLagMetrics(metrics: Metrics, nowMs: () => number) {
  const kafkaTransactions = metrics.counter(
    'tillstream_reader_kafka_transactions_total',
    'Kafka transactions committed, those without events included',
  );
  const lagBytes = metrics.gauge('tillstream_reader_lag_bytes', 'WAL written by the server and not yet published');
  const lagSeconds = metrics.gauge(
    'tillstream_reader_lag_seconds',
    'Age of the oldest commit that is received and not yet published; 0 when there is none',
  );
  const throughGauge = metrics.gauge(
    'tillstream_reader_through_lsn',
    'WAL position before which everything is published',
  );
  const position = metrics.gauge(
    'tillstream_reader_position_lsn',
    'WAL positions: written by the server, sent to the reader, received by it, acknowledged to the slot',
    ['stage'],
  );
  const pendingBytes = metrics.gauge('tillstream_reader_in_flight_bytes', 'Event bytes received and not yet published');
  const retainedBytes = metrics.gauge('tillstream_reader_retained_wal_bytes', 'WAL that the slot keeps on the server');
  let throughLsn: Lsn = LSN_ZERO;
  let serverLsn: Lsn = LSN_ZERO;
  let oldestCommitAt: bigint | undefined;
  const setLag = (): void => {
    throughGauge.set(Number(throughLsn));
    lagBytes.set(serverLsn > throughLsn ? Number(serverLsn - throughLsn) : 0);
    lagSeconds.set(oldestCommitAt === undefined ? 0 : Math.max(0, nowMs() - Number(oldestCommitAt / 1000n)) / 1000);
  };
  return {
    /** The resume position: nothing is committed by that. */
    continued(checkpoint: Checkpoint): void {
      throughLsn = checkpoint.throughLsn;
      setLag();
    },
    published(checkpoint: Checkpoint): void {
      kafkaTransactions.inc();
      throughLsn = checkpoint.throughLsn;
      setLag();
    },
    /** What has been received and is not published. */
    pending({ bytes, oldest }: Pick<Queue, 'bytes' | 'oldest'>): void {
      pendingBytes.set(bytes);
      oldestCommitAt = oldest?.committedAt;
      setLag();
    },
    /** What was received will be received again: it is not held any more, and is pending all the same. */
    pendingDropped(): void {
      pendingBytes.set(0);
    },
    /** The end of the server's WAL, and its slot. What the slot has confirmed was published before. */
    sampled(
      flushLsn: Lsn,
      slot: { confirmedFlushLsn: Lsn | null; sentLsn: Lsn | null; retainedBytes: bigint | null } | null,
    ): void {
      serverLsn = flushLsn;
      const { sentLsn = null, confirmedFlushLsn: acknowledged = null } = slot ?? {};
      for (const [stage, lsn] of Object.entries({ written: flushLsn, sent: sentLsn, acknowledged })) {
        if (lsn === null) position.remove({ stage });
        else position.set({ stage }, Number(lsn));
      }
      throughLsn = maxLsn(throughLsn, slot?.confirmedFlushLsn ?? LSN_ZERO);
      retainedBytes.set(Number(slot?.retainedBytes ?? 0n));
      setLag();
    },
    /** The server has sent all before `walEnd`. */
    receivedLsn(walEnd: Lsn): void {
      position.set({ stage: 'received' }, Number(walEnd));
      serverLsn = maxLsn(serverLsn, walEnd);
      setLag();
    },
  };
}

function createReplayMetrics(metrics: Metrics) {
  const oldestReplayable = metrics.gauge(
    'tillstream_reader_replay_oldest_lsn',
    'Oldest WAL position from which everything can be replayed, by source; absent when nothing can',
    ['source'],
  );
  const windowBytes = metrics.gauge('tillstream_reader_replay_window_bytes', 'WAL that the replay window holds');
  const windowSeconds = metrics.gauge(
    'tillstream_reader_replay_window_seconds',
    'Approximate age of the oldest transaction of the replay window',
  );
  const setOldest = (source: 'wal' | 'kafka', oldestLsn: Lsn | null): void => {
    if (oldestLsn === null) oldestReplayable.remove({ source });
    else oldestReplayable.set({ source }, Number(oldestLsn));
  };
  return {
    replayWindowLost: metrics.counter(
      'tillstream_reader_replay_window_lost_total',
      'Window slots recreated, by reason: missing, over-limit, lost, or why Postgres invalidated it (idle_timeout, wal_removed)',
      ['reason'],
    ),
    replayWindowFailures: metrics.counter(
      'tillstream_reader_replay_window_failures_total',
      'Failed attempts to keep the replay window, by reason',
      ['reason'],
    ),
    /** `oldestLsn`: null when there is no window. */
    replayWindow(oldestLsn: Lsn | null, keptBytes: number, seconds: number): void {
      setOldest('wal', oldestLsn);
      windowBytes.set(keptBytes);
      windowSeconds.set(seconds);
    },
    /** null: nothing can be replayed from Kafka for sure. */
    replayableFromKafka(oldestLsn: Lsn | null): void {
      setOldest('kafka', oldestLsn);
    },
  };
}
