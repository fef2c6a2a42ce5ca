// What the reader reports: the constant names of its log events, and its metrics. LSN distances are bytes of WAL. The lag is in
// lag-metrics.ts, the slots in slot-metrics.ts, a first start in first-start-metrics.ts, Kafka's open transactions in
// transaction-metrics.ts.
import type { Lsn } from '#schemas/lsn.ts';
import type { Metrics } from '#service/metrics.ts';
import { createFirstStartMetrics } from './first-start-metrics.ts';
import { createLagMetrics } from './lag-metrics.ts';
import type { Group } from './pipeline/queue.ts';
import { createSlotMetrics } from './slot-metrics.ts';
import { createTransactionMetrics } from './transaction-metrics.ts';

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
  const lag = createLagMetrics(metrics, nowMs);
  const slots = createSlotMetrics(metrics, nowMs);
  return {
    /** Also while no start lives: how far the slot is, and what it costs. */
    slotsSampled: (...sampled: Parameters<typeof slots.slotsSampled>): void => {
      const [{ slots: found, walEnd }, { slotName }] = sampled;
      slots.slotsSampled(...sampled);
      lag.sampled(walEnd, found.get(slotName) ?? null);
    },
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
    ...createPublishMetrics(metrics),
    ...lag,
    streams: (isStreaming: boolean): void => {
      lag.streams(isStreaming);
      if (isStreaming) slots.streamingBegan();
    },
    ...createReplayMetrics(metrics),
    ...createFirstStartMetrics(metrics),
    ...createTransactionMetrics(metrics, nowMs),
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

function createReplayMetrics(metrics: Metrics) {
  const oldestReplayable = metrics.gauge(
    'tillstream_reader_replay_oldest_lsn',
    'Oldest position from which everything can be replayed; absent when nothing can',
    ['source'],
  );
  let kept: { readonly bytes: number; readonly seconds: number } | undefined;
  metrics.state('tillstream_reader_replay_window_bytes', 'WAL that the replay window holds', [], () =>
    kept === undefined ? [] : [[{}, kept.bytes]],
  );
  metrics.state(
    'tillstream_reader_replay_window_seconds',
    'Approximate age of the oldest transaction of the replay window',
    [],
    () => (kept === undefined ? [] : [[{}, kept.seconds]]),
  );
  const setOldest = (source: 'wal' | 'kafka', oldestLsn: Lsn | null): void => {
    if (oldestLsn === null) oldestReplayable.remove({ source });
    else oldestReplayable.set({ source }, Number(oldestLsn));
  };
  return {
    replayWindowLost: metrics.counter(
      'tillstream_reader_replay_window_lost_total',
      'Window slots recreated, by reason: missing, over-limit, lost, or Postgres’s own',
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
      kept = oldestLsn === null ? undefined : { bytes: keptBytes, seconds };
    },
    /** null: nothing can be replayed from Kafka for sure. */
    replayableFromKafka(oldestLsn: Lsn | null): void {
      setOldest('kafka', oldestLsn);
    },
  };
}
