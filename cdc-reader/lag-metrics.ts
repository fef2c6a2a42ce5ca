// How far the reader is behind, and whether it streams. Lag counts from what Kafka has committed, not from what was received, to
// the end of the server's WAL, not to what was sent: it shows a backlog that the reader can't see (lag-sampler.ts). Guarantees:
// computed at each scrape, so that the lag in seconds goes on growing after a halt; what is too old to be true has no series.
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { Metrics } from '#service/metrics.ts';
import type { Queue } from './pipeline/queue.ts';
import { addWalSample, findBehindSince, type WalHistory } from './wal-history.ts';

/** Four samples of the slots (slot-sampler.ts), which go on whatever the reader does. */
export const STALE_MS = 60_000;

interface SampledSlot {
  readonly confirmedFlushLsn: Lsn | null;
  /** Undefined where it was not asked for. */
  readonly sentLsn?: Lsn | null;
  readonly retainedBytes: bigint | null;
}

/** `sinceMs`: since when it has the role. */
interface Role {
  readonly kind: 'streaming' | 'standby' | 'down';
  readonly sinceMs: number;
}

export function createLagMetrics(metrics: Metrics, nowMs: () => number) {
  const kafkaTransactions = metrics.counter(
    'tillstream_reader_kafka_transactions_total',
    'Kafka transactions committed, those without events included',
  );
  const inFlight = createInFlightMetrics(metrics);
  let throughLsn: Lsn = LSN_ZERO;
  let serverLsn: Lsn = LSN_ZERO;
  let serverAtMs = Number.NEGATIVE_INFINITY;
  let retainedBytes: bigint | undefined;
  const positions = createPositionMetrics(metrics, () => ({
    nowMs: nowMs(),
    isFresh: isFresh(),
    isStreaming: role.kind === 'streaming',
    throughLsn,
  }));
  let oldestCommitAt: bigint | undefined;
  let role: Role = { kind: 'down', sinceMs: nowMs() };
  const register = (name: string, help: string, read: () => number | undefined): void =>
    metrics.state(`tillstream_reader_${name}`, help, [], () => {
      const value = read();
      return value === undefined ? [] : [[{}, value]];
    });
  const isFresh = (): boolean => nowMs() - serverAtMs <= STALE_MS;

  register('streaming', '1 while this reader holds the slot and publishes', () => (role.kind === 'streaming' ? 1 : 0));
  register('standby', '1 while this reader waits to take over from another one that streams', () =>
    role.kind === 'standby' ? 1 : 0,
  );
  register('lag_bytes', 'WAL written by the server and not yet published', () => {
    if (!isFresh()) return undefined;
    return serverLsn > throughLsn ? Number(serverLsn - throughLsn) : 0;
  });
  register(
    'lag_seconds',
    'Age of the oldest commit received and not published, or WAL not received, or since it streamed; else 0',
    () => {
      if (role.kind === 'standby') return undefined;
      const since = [
        oldestCommitAt === undefined ? undefined : Number(oldestCommitAt / 1000n),
        positions.behindSinceMs(),
        oldestCommitAt === undefined && role.kind === 'down' ? role.sinceMs : undefined,
      ].filter((one) => one !== undefined);
      return Math.max(0, ...since.map((atMs) => nowMs() - atMs)) / 1000;
    },
  );
  register('through_lsn', 'WAL position before which everything is published', () =>
    throughLsn === LSN_ZERO ? undefined : Number(throughLsn),
  );
  register('retained_wal_bytes', 'WAL that the slot keeps on the server', () =>
    isFresh() && retainedBytes !== undefined ? Number(retainedBytes) : undefined,
  );
  return {
    streams(isStreaming: boolean): void {
      if (isStreaming || role.kind !== 'down') role = { kind: isStreaming ? 'streaming' : 'down', sinceMs: nowMs() };
    },
    /** Another reader streams: what is pending is its to report. */
    standsBy(): void {
      role = { kind: 'standby', sinceMs: nowMs() };
      inFlight({ bytes: 0, orders: 0 });
      oldestCommitAt = undefined;
    },
    /** The resume position: nothing is committed by that. */
    continued(checkpoint: Checkpoint): void {
      throughLsn = checkpoint.throughLsn;
    },
    published(checkpoint: Checkpoint): void {
      kafkaTransactions.inc();
      throughLsn = checkpoint.throughLsn;
    },
    /** What has been received and is not published. */
    pending(queue: Pick<Queue, 'bytes' | 'orders' | 'oldest'>): void {
      inFlight(queue);
      oldestCommitAt = queue.oldest?.committedAt;
    },
    /** What was received will be received again: it is not held any more, and is pending all the same. */
    pendingDropped(): void {
      inFlight({ bytes: 0, orders: 0 });
    },
    /** The end of the server's WAL, and its slot. What the slot has confirmed was published before. */
    sampled(flushLsn: Lsn, slot: SampledSlot | null): void {
      serverLsn = flushLsn;
      serverAtMs = nowMs();
      throughLsn = maxLsn(throughLsn, slot?.confirmedFlushLsn ?? LSN_ZERO);
      retainedBytes = slot?.retainedBytes ?? 0n;
      positions.sampled(flushLsn, slot);
    },
    /** The server has sent all before `walEnd`. */
    receivedLsn(walEnd: Lsn): void {
      serverLsn = maxLsn(serverLsn, walEnd);
      serverAtMs = nowMs();
      positions.received(walEnd);
    },
  };
}

function createInFlightMetrics(metrics: Metrics): (held: Pick<Queue, 'bytes' | 'orders'>) => void {
  const inBytes = metrics.gauge('tillstream_reader_in_flight_bytes', 'Event bytes received and not yet published');
  const inOrders = metrics.gauge('tillstream_reader_in_flight_orders', 'Orders received and not yet published');
  return ({ bytes, orders }) => {
    inBytes.set(bytes);
    inOrders.set(orders);
  };
}

type Stage = 'written' | 'sent' | 'received' | 'committed' | 'acknowledged';

/** The stages of the way through the reader: none is shown that is too old to be true. */
function createPositionMetrics(
  metrics: Metrics,
  state: () => {
    readonly nowMs: number;
    readonly isFresh: boolean;
    readonly isStreaming: boolean;
    readonly throughLsn: Lsn;
  },
) {
  let sampled: Readonly<Record<'written' | 'sent' | 'acknowledged', Lsn | null>> | undefined;
  let received: Lsn | null = null;
  let history: WalHistory = [];
  /** What lies before it was received: what is published was, and a keepalive tells of what is not for us. */
  const reachedLsn = (): Lsn => maxLsn(state().throughLsn, received ?? LSN_ZERO);
  const listPositions = (): [Stage, Lsn][] => {
    const { isFresh, isStreaming, throughLsn } = state();
    const committed = isStreaming && throughLsn > LSN_ZERO ? throughLsn : null;
    const all = { ...(isFresh && sampled), received: isStreaming ? received : null, committed };
    return Object.entries(all).flatMap(([stage, lsn]) => (lsn === null ? [] : [[stage as Stage, lsn]]));
  };
  metrics.state(
    'tillstream_reader_position_lsn',
    'WAL positions: written by the server, sent, received, committed in Kafka, acknowledged',
    ['stage'],
    () => listPositions().map(([stage, lsn]) => [{ stage }, Number(lsn)]),
  );
  metrics.state(
    'tillstream_reader_position_age_seconds',
    'Time since WAL was written that lies behind the position; 0 where none does',
    ['stage'],
    () =>
      listPositions().map(([stage, lsn]) => {
        const since = findBehindSince(history, lsn);
        return [{ stage }, since === undefined ? 0 : Math.max(0, state().nowMs - since) / 1000];
      }),
  );
  return {
    /** Since when WAL is written that was not received. */
    behindSinceMs: (): number | undefined => findBehindSince(history, reachedLsn()),
    sampled(flushLsn: Lsn, slot: SampledSlot | null): void {
      const { sentLsn = null, confirmedFlushLsn: acknowledged = null } = slot ?? {};
      sampled = { written: flushLsn, sent: sentLsn, acknowledged };
      const least = listPositions().reduce((min, [, lsn]) => (lsn < min ? lsn : min), reachedLsn());
      history = addWalSample(history, { atMs: state().nowMs, walEnd: flushLsn }, least);
    },
    received(walEnd: Lsn): void {
      received = walEnd;
    },
  };
}
