// The sources by name: what each covers now, and a reader of one for a pass. Each source's own file says what it
// guarantees; this one knows what they need of the pipeline.

import { requireOids } from '#schemas/capture-fingerprint.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import type { PlannedPass } from '#schemas/replay/plan.ts';
import type { ReplayMode } from '#schemas/replay/records.ts';
import { windowSlotName } from '#schemas/resource-names.ts';
import { readUnknownOrders } from '../../../cart-sink/apply/preview-replay.ts';
import { readKafkaCoverage } from '../../../cdc-reader/startup/live-topic.ts';
import type { Connections } from '../cli/connections.ts';
import { CapturedTablesUnknownError } from '../cli/errors.ts';
import type { PipelineState } from '../plan/pipeline-state.ts';
import { type ResolvedTime, resolveTime } from '../plan/resolve-time.ts';
import { awaitApplied } from './await-applied.ts';
import { kafkaCoverage } from './kafka-coverage.ts';
import { createKafkaSource } from './kafka-source.ts';
import { READ_DEADLINE_MS } from './live-records.ts';
import type { Coverage, ReplaySource } from './source.ts';
import { createTablesSource, tablesCoverage } from './tables-source.ts';
import { createWalSource, walCoverage } from './wal-source.ts';
import { readWalTransactions, type WalOptions } from './wal-transactions.ts';

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

/** `ratePerSecond`: chunks are no larger, where the source has a choice; see {@link createKafkaSource}. */
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
  const live = { log, topic: config.ordersTopic, generation, gaps, deadlineMs: READ_DEADLINE_MS };
  if (oldestLsn === null || oldestLsn >= appliedThroughLsn) return resolveTime({ at }, live, undefined);
  const range = { fromLsn: oldestLsn, toLsn: appliedThroughLsn };
  return resolveTime({ at }, live, () => {
    return readWalTransactions({ ...walOptions(connections), captured: capturedOids(checkpoint) }, range, signal);
  });
}

/** A row of any other table stops a replay by name. @throws CapturedTablesUnknownError */
function capturedOids({ capture }: Pick<Checkpoint, 'capture'>): WalOptions['captured'] {
  if ('version1' in capture) throw new CapturedTablesUnknownError();
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
