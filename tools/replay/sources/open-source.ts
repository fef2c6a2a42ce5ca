// The sources by name: what each covers now, and one opened for a pass. Guarantees are described in each source's own file; this
// one knows what they need of the pipeline.

import { setTimeout as delay } from 'node:timers/promises';
import { requireCaptured } from '#schemas/capture-fingerprint.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { OrderFilter, PlannedPass } from '#schemas/replay/plan.ts';
import type { ReplayMode } from '#schemas/replay/records.ts';
import { windowSlotName } from '#schemas/resource-names.ts';
import { readUnknownOrders } from '../../../cart-sink/apply/preview-replay.ts';
import { readKafkaCoverage } from '../../../cdc-reader/startup/live-topic.ts';
import { openDatabase } from '../../connect.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';
import { readWalEnd } from '../../sql/snapshot.ts';
import { toReachableWalEnd } from '../../wal-end.ts';
import type { Connections } from '../cli/connections.ts';
import { CapturedTablesUnknownError, NotReadyError } from '../cli/errors.ts';
import { createKafkaSource, kafkaCoverage } from './kafka-source.ts';
import { type PipelineState, readAppliedThrough, readStreamingCheckpoint } from './pipeline-state.ts';
import { type ResolvedTime, resolveTime } from './resolve-time.ts';
import type { Coverage, ReplaySource } from './source.ts';
import { createTablesSource, tablesCoverage } from './tables-source.ts';
import { createWalSource, walCoverage } from './wal-source.ts';
import { readWalTransactions, type WalOptions } from './wal-transactions.ts';

/** The reader records idle progress rarely, so polling more often gains nothing. */
const POLL_EVERY_MS = 200;
/** Three times the default of IDLE_CHECKPOINT_MS: that long an idle reader may take to record its progress. */
const STALLED_AFTER_MS = 30_000;

/** In the order in which `auto` prefers them. */
export async function readCoverages(
  { config, log, orders }: Connections,
  { checkpoint, appliedThroughLsn }: PipelineState,
): Promise<readonly Coverage[]> {
  const windowSlot = windowSlotName(config.slotName);
  const { oldestLsn } = await readKafkaCoverage(log, config.ordersTopic, checkpoint, READ_DEADLINE_MS);
  return [
    kafkaCoverage(config.ordersTopic, { oldestLsn, gaps: checkpoint.gaps, newestLsn: appliedThroughLsn }),
    walCoverage(windowSlot, await orders.readSlot(windowSlot), appliedThroughLsn),
    tablesCoverage(appliedThroughLsn),
  ];
}

interface OpenOptions extends OrderFilter {
  readonly mode: ReplayMode;
  readonly ratePerSecond: number | null;
  /** Told of what is waited for. */
  readonly print: (lines: readonly string[]) => void;
}

/** `ratePerSecond` bounds the chunks too, if the source has a choice; see {@link createKafkaSource}. */
export function openSource(
  connections: Connections,
  { checkpoint }: Pick<PipelineState, 'checkpoint'>,
  { source, range }: PlannedPass,
  { mode, ratePerSecond, users, orderIds, print }: OpenOptions,
): ReplaySource {
  const { config, log, carts } = connections;
  if (range === null) {
    const selectUnknown = (ids: readonly string[]) => readUnknownOrders(carts.pool, ids);
    const wanted = mode === 'repair' ? { selectUnknown } : {};
    return createTablesSource({
      ...walOptions(connections),
      ...wanted,
      filter: { users, orderIds },
      awaitApplied: (signal) => awaitApplied(connections, print, signal),
      slotName: config.slotName,
      checkpoint,
    });
  }
  if (source === 'kafka') {
    const chunkOrders = ratePerSecond ?? undefined;
    return createKafkaSource({ log, topic: config.ordersTopic, generation: checkpoint.generation, range, chunkOrders });
  }
  return createWalSource({ ...walOptions(connections), captured: capturedTables(checkpoint), checkpoint, range });
}

/** The first order committed at or after `at`, microseconds since 1970. */
export async function resolveFromTime(
  connections: Connections,
  { checkpoint, appliedThroughLsn }: PipelineState,
  at: bigint,
  signal: AbortSignal,
): Promise<ResolvedTime> {
  const { config, log, orders } = connections;
  const { generation, gaps } = checkpoint;
  const windowSlot = windowSlotName(config.slotName);
  const { oldestLsn } = walCoverage(windowSlot, await orders.readSlot(windowSlot), appliedThroughLsn);
  const live = { log, topic: config.ordersTopic, generation, gaps };
  if (oldestLsn === null || oldestLsn >= appliedThroughLsn) return resolveTime({ at }, live, undefined);
  const range = { fromLsn: oldestLsn, toLsn: appliedThroughLsn };
  return resolveTime({ at }, live, () => {
    return readWalTransactions({ ...walOptions(connections), captured: capturedTables(checkpoint) }, range, signal);
  });
}

/**
 * Waits until the sinks have applied everything that is committed now, as long as they advance: the tables hold orders that
 * the live stream has yet to deliver. @throws NotReadyError when they don't; the signal's reason, and what the servers throw
 */
async function awaitApplied(connections: Connections, print: OpenOptions['print'], signal: AbortSignal): Promise<void> {
  const { config, logger } = connections;
  const server = { postgres: config.orderDatabase, applicationName: config.applicationName, logger };
  const orders = openDatabase(server, { statementTimeoutMs: 10_000 });
  try {
    const [row]: { wal_end: string }[] = await orders.pool.query(readWalEnd);
    const throughLsn = toReachableWalEnd(parseLsn(row!.wal_end));
    let applied: Lsn | undefined;
    let movedMs = performance.now();
    for (;;) {
      const now = await readAppliedThrough(connections, await readStreamingCheckpoint(connections));
      if (now >= throughLsn) return;
      const positions = `applied through ${formatLsn(now)}, committed through ${formatLsn(throughLsn)}`;
      if (applied === undefined) print([`Waiting for the reader and the sinks (${positions}).`]);
      if (applied !== now) movedMs = performance.now();
      applied = now;
      if (performance.now() - movedMs > STALLED_AFTER_MS) {
        throw new NotReadyError(
          `the reader and the sinks have not advanced for ${STALLED_AFTER_MS / 1000} s (${positions}), and some of these orders ` +
            'may still come through them. GET /health/pipeline of cdc-reader and cart-sink names the cause: remove it (after ' +
            'a halt of the reader, by the command in its message), then run this again',
        );
      }
      signal.throwIfAborted();
      await delay(POLL_EVERY_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  } finally {
    await orders.close();
  }
}

/** A row of another table under a captured table's name stops the replay. @throws CapturedTablesUnknownError */
function capturedTables({ capture }: Pick<Checkpoint, 'capture'>): WalOptions['captured'] {
  if ('version1' in capture) {
    throw new CapturedTablesUnknownError(
      'The checkpoint does not record which tables were captured: an older reader wrote it, and what it did record has ' +
        'changed since. Start the reader of this version first: it checks and records the tables, or reports what is wrong.',
    );
  }
  return requireCaptured(capture);
}

function walOptions({ config, logger }: Connections): Omit<WalOptions, 'captured'> {
  const { publicationName, walSenderTimeoutMs, spillBytes, spillDirectory, applicationName } = config;
  return {
    postgres: config.orderDatabase,
    applicationName,
    publicationName,
    windowSlotName: windowSlotName(config.slotName),
    walSenderTimeoutMs,
    spillBytes,
    spillDirectory,
    logger,
  };
}
