// Publishes the orders that the snapshot of a first start sees and no earlier attempt has published, with a checkpoint in each
// Kafka transaction, and reports how far it is. Guarantees: the tables are compared with those of the intent, in the snapshot
// and beside every transaction (I11). Slot, intent and the first streaming checkpoint are initial-snapshot.ts's.
import type { TransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import { type CaptureFingerprint, compareCapture, type RecordedCapture } from '#schemas/capture-fingerprint.ts';
import { type Checkpoint, formatCheckpoint } from '#schemas/checkpoint.ts';
import { LSN_ZERO } from '#schemas/lsn.ts';
import { failpoint } from '#service/failpoint.ts';
import type { CdcReaderConfig } from '../../config.ts';
import type { EventRecord } from '../../encode/encode-event.ts';
import { READER_FIRST_START_PROGRESS } from '../../metrics.ts';
import { type CaptureCheck, explainCaptureChange, preferTablesChanged } from '../../pipeline/capture-check.ts';
import { readCapturedTables } from '../../postgres/capture.ts';
import type { NewSlot } from '../../postgres/slot.ts';
import { readSnapshotOrders } from '../../postgres/snapshot.ts';
import type { SourceSession } from '../../postgres/source-session.ts';
import type { SourceIdentity } from '../../postgres/walsender.ts';
import { type KafkaConnection, READ_DEADLINE_MS } from '../kafka-connection.ts';
import type { StartContext } from '../session.ts';
import { snapshotRecords } from '../snapshot-event.ts';
import { createProgress, formatProgress } from './progress.ts';
import { NOTHING_PUBLISHED, openPublishedOrders } from './published-orders.ts';

/** Orders read from the snapshot, and published in one Kafka transaction, at a time. */
const SNAPSHOT_BATCH = 1_000;

const LOG_EVERY_MS = 10_000;

/** One attempt. `earlier`: what an earlier one has left. */
export interface Attempt {
  readonly source: SourceSession;
  readonly kafka: KafkaConnection;
  readonly producer: TransactionalProducer;
  readonly identity: SourceIdentity;
  readonly earlier: Checkpoint | null;
  readonly captureCheck: CaptureCheck;
}

/** Publishes what the live topic does not hold yet. Resolves to the last checkpoint. */
export async function publishSnapshot(
  context: StartContext,
  attempt: Attempt,
  intent: Checkpoint,
  slot: NewSlot,
): Promise<Checkpoint> {
  const { config, scope } = context;
  const { source, kafka, identity, earlier, captureCheck } = attempt;
  const published =
    earlier === null ? NOTHING_PUBLISHED : await openPublishedOrders(kafka.log, config.ordersTopic, READ_DEADLINE_MS);
  const report = createReport(context, await source.estimateOrders());
  let read = 0;
  const snapshot = readSnapshotOrders({
    postgres: config.orderDatabase,
    applicationName: config.applicationName,
    snapshotName: slot.snapshotName,
    batchSize: SNAPSHOT_BATCH,
    select: (orders) => {
      read = orders.length;
      return published.leaveOut(orders);
    },
    onSnapshot: async (query) => {
      const seen = await readCapturedTables(query, config.publicationName, identity.serverVersion);
      await requireSameTables(config, source, intent.capture, seen.fingerprint);
    },
  });
  let checkpoint: Checkpoint = { ...intent, state: 'snapshot' };
  const records = snapshotRecords(config, identity, slot.consistentPoint, checkpoint.partitions, checkpoint.generation);
  for await (const orders of snapshot) {
    scope.signal.throwIfAborted();
    const batch = await preferTablesChanged(captureCheck, () => records(orders));
    if (batch.lastPublished !== null) {
      checkpoint = { ...checkpoint, lastPublished: batch.lastPublished };
      await publish(attempt, checkpoint, batch.records);
      context.metrics.publishedSnapshot(batch.records.length);
    }
    report(read, batch.records.length);
    if (batch.lastPublished !== null) await failpoint('reader.snapshot-published');
  }
  return checkpoint;
}

/** Takes how many orders were read, and how many of them published: for health, metrics and, now and then, the log. */
function createReport(
  { metrics, logger, onProgress }: StartContext,
  estimatedTotal: number | null,
): (orders: number, published: number) => void {
  const nowMs = () => performance.now();
  const progress = createProgress({ estimatedTotal, nowMs });
  let loggedMs = nowMs();
  return (orders, published) => {
    const now = progress.add(orders, published);
    metrics.firstStart(now);
    onProgress(now);
    if (nowMs() - loggedMs < LOG_EVERY_MS) return;
    loggedMs = nowMs();
    logger.info({ event: READER_FIRST_START_PROGRESS, ...formatProgress(now) }, 'Publishing the initial snapshot.');
  };
}

export async function requireSameTables(
  { publicationName }: CdcReaderConfig,
  source: SourceSession,
  recorded: RecordedCapture,
  found: CaptureFingerprint,
): Promise<void> {
  const { differences } = compareCapture(recorded, found);
  if (differences.length === 0) return;
  throw await explainCaptureChange(source, publicationName, { recorded, differences, throughLsn: LSN_ZERO });
}

export async function publish(
  { kafka, producer, captureCheck }: Attempt,
  checkpoint: Checkpoint,
  records: readonly EventRecord[],
): Promise<void> {
  const check = captureCheck.run(checkpoint.throughLsn);
  check.catch(() => undefined); // thrown where it is awaited
  const next = { ...checkpoint, capture: captureCheck.accepted };
  const transaction = await producer.begin();
  await transaction.send([...records, kafka.checkpointTopic.record(formatCheckpoint(next))]);
  await check;
  await transaction.commit();
}
