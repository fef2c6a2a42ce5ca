// The sources by name: what each covers now, and one opened for a pass. Guarantees are described in each source's own file; this
// one knows what they need of the pipeline.

import { setTimeout as delay } from 'node:timers/promises';
import { requireOids } from '#schemas/capture-fingerprint.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { parseLsn } from '#schemas/lsn.ts';
import type { PlannedPass } from '#schemas/replay/plan.ts';
import type { ReplayMode } from '#schemas/replay/records.ts';
import { windowSlotName } from '#schemas/resource-names.ts';
import { readUnknownOrders } from '../../../cart-sink/apply/preview-replay.ts';
import { readKafkaCoverage } from '../../../cdc-reader/startup/live-topic.ts';
import { openDatabase } from '../../connect.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';
import { readWalEnd } from '../../sql/snapshot.ts';
import { toReachableWalEnd } from '../../wal-end.ts';
import type { Connections } from '../cli/connections.ts';
import { CapturedTablesUnknownError } from '../cli/errors.ts';
import { createKafkaSource, kafkaCoverage } from './kafka-source.ts';
import { type PipelineState, readAppliedThrough, readStreamingCheckpoint } from './pipeline-state.ts';
import { type ResolvedTime, resolveTime } from './resolve-time.ts';
import type { Coverage, ReplaySource } from './source.ts';
import { createTablesSource, tablesCoverage } from './tables-source.ts';
import { createWalSource, walCoverage } from './wal-source.ts';
import { readWalTransactions, type WalOptions } from './wal-transactions.ts';

/** The reader records idle progress rarely, so polling more often gains nothing. */
const POLL_EVERY_MS = 200;

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

/** `ratePerSecond` bounds the chunks too, if the source has a choice; see {@link createKafkaSource}. */
export function openSource(
  connections: Connections,
  { checkpoint }: Pick<PipelineState, 'checkpoint'>,
  { source, range }: PlannedPass,
  { mode, ratePerSecond }: { readonly mode: ReplayMode; readonly ratePerSecond: number | null },
): ReplaySource {
  const { config, log, carts } = connections;
  if (range === null) {
    const selectUnknown = (ids: readonly string[]) => readUnknownOrders(carts.pool, ids);
    const wanted = mode === 'repair' ? { selectUnknown } : {};
    return createTablesSource({
      ...walOptions(connections),
      ...wanted,
      awaitApplied: (signal) => awaitApplied(connections, signal),
      slotName: config.slotName,
      checkpoint,
    });
  }
  if (source === 'kafka') {
    const chunkOrders = ratePerSecond ?? undefined;
    return createKafkaSource({ log, topic: config.ordersTopic, generation: checkpoint.generation, range, chunkOrders });
  }
  return createWalSource({ ...walOptions(connections), captured: capturedOids(checkpoint), checkpoint, range });
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
    return readWalTransactions({ ...walOptions(connections), captured: capturedOids(checkpoint) }, range, signal);
  });
}

/**
 * Waits until the sinks have applied everything that is committed now, as long as it takes: the tables hold orders that the
 * live stream has yet to deliver. @throws the signal's reason, and what the servers throw
 */
async function awaitApplied(connections: Connections, signal: AbortSignal): Promise<void> {
  const { config, logger } = connections;
  const server = { databaseUrl: config.orderDatabaseUrl, applicationName: config.applicationName, logger };
  const orders = openDatabase(server, { statementTimeoutMs: 10_000 });
  try {
    const [row]: { wal_end: string }[] = await orders.pool.query(readWalEnd);
    const throughLsn = toReachableWalEnd(parseLsn(row!.wal_end));
    while ((await readAppliedThrough(connections, await readStreamingCheckpoint(connections))) < throughLsn) {
      signal.throwIfAborted();
      await delay(POLL_EVERY_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  } finally {
    await orders.close();
  }
}

/** A row of another table under a captured table's name stops the replay. @throws CapturedTablesUnknownError */
function capturedOids({ capture }: Pick<Checkpoint, 'capture'>): WalOptions['captured'] {
  if ('version1' in capture) {
    throw new CapturedTablesUnknownError(
      'The checkpoint does not record which tables were captured: an older reader wrote it, and what it did record has ' +
        'changed since. Start the reader of this version first: it checks and records the tables, or reports what is wrong.',
    );
  }
  return requireOids(capture);
}

function walOptions({ config, logger }: Connections): Omit<WalOptions, 'captured'> {
  const { publicationName, walSenderTimeoutMs, spillBytes, spillDirectory, applicationName } = config;
  return {
    databaseUrl: config.orderDatabaseUrl,
    applicationName,
    publicationName,
    windowSlotName: windowSlotName(config.slotName),
    walSenderTimeoutMs,
    spillBytes,
    spillDirectory,
    logger,
  };
}
