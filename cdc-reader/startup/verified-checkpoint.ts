// The checkpoint of a start: the newest one, and whether it fits to the server, the slot, the captured tables and the live
// topic. Guarantees: publishing may continue from what is returned, by the facts of this moment (I11); facts of two moments,
// read while another reader was publishing, are read again and halt nobody. Before fencing, a newer checkpoint may be
// hidden: the response to a commit comes before its control record is in the partition, long before where the broker dies
// in between. Checking the facts is continuity.ts's, and when is start-up.ts's.
import { isBatchError } from '#kafka/protocol/batch-errors.ts';
import { type CaptureFingerprint, compareCapture, recordedOids } from '#schemas/capture-fingerprint.ts';
import {
  type Checkpoint,
  findWitness,
  formatCheckpoint,
  MalformedCheckpointError,
  parseCheckpoint,
} from '#schemas/checkpoint.ts';
import { HaltError } from '#service/halt.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import { CheckpointMissingError, CheckpointUnreadableError } from '../errors.ts';
import { explainCaptureChange } from '../pipeline/capture-check.ts';
import type { ReplicationStream } from '../postgres/replication-stream.ts';
import { readIdentity } from '../postgres/slot.ts';
import type { SlotState, SourceSession } from '../postgres/source-session.ts';
import { CheckpointUndecidedError, FirstStartUnfinishedError, OvertakenError } from '../supervise/restart-errors.ts';
import { checkContinuity, findLeastEnd } from './continuity.ts';
import { type KafkaConnection, openKafka, READ_DEADLINE_MS } from './kafka-connection.ts';
import { readSettledTails, readSettledTopicId } from './live-topic.ts';
import { requireUsableCapture } from './usable-capture.ts';

/** A halt, not a plain error: continuing without the checkpoint would publish again what is published. */
function parseRecord(record: Buffer): Checkpoint {
  try {
    return parseCheckpoint(record);
  } catch (error) {
    throw error instanceof MalformedCheckpointError ? new CheckpointUnreadableError(error.cause) : error;
  }
}

interface FoundCheckpoint {
  readonly checkpoint: Checkpoint | null;
  /** A transaction was open in its topic, behind which a newer one may be. */
  readonly isHidden: boolean;
}

/** `isExpected`: see hasCheckpointTopic(). @throws CheckpointUnreadableError, or an error of Kafka */
export async function findCheckpoint(
  config: Pick<CdcReaderConfig, 'checkpointTopic'>,
  kafka: Pick<KafkaConnection, 'checkpointTopic' | 'hasCheckpointTopic' | 'log'>,
  through: 'high_watermark' | 'last_stable_offset',
  isExpected: boolean,
): Promise<FoundCheckpoint> {
  if (!(await kafka.hasCheckpointTopic(isExpected))) return { checkpoint: null, isHidden: false };
  // Before the read: a transaction that ends in between is seen by it, or counted as open here.
  const before = (await kafka.log.readOffsets(config.checkpointTopic, READ_DEADLINE_MS)).get(0);
  const { record } = await kafka.checkpointTopic.read(READ_DEADLINE_MS, through).catch((error) => {
    throw isBatchError(error) ? new CheckpointUnreadableError(error) : error;
  });
  const isOpen = before !== undefined && before.lastStable < before.highWatermark;
  const isHidden = through === 'last_stable_offset' && isOpen;
  return { checkpoint: record === null ? null : parseRecord(record), isHidden };
}

/** Why a reader can't continue that found a slot or events, but no checkpoint: a halt, unless the next read may find one. */
export function explainMissingCheckpoint(
  config: Pick<CdcReaderConfig, 'checkpointTopic' | 'slotName'>,
  found: { isHidden: boolean; slot: Pick<SlotState, 'confirmedFlushLsn'> | null; liveOffsets: bigint },
): Error {
  if (found.isHidden) return new CheckpointUndecidedError(config.checkpointTopic);
  return new CheckpointMissingError(config, found.slot, found.liveOffsets);
}

type Recorded = FoundCheckpoint & { readonly checkpoint: Checkpoint };

/**
 * The checkpoint, if it fits to source and live topic. A reader that was stopped in the midst of its checks, long enough
 * for another one to take the slot and publish, must not take that for a gap. @throws OvertakenError, HaltErrors
 */
export async function readVerifiedCheckpoint(
  config: CdcReaderConfig,
  kafka: KafkaConnection,
  source: SourceSession,
  stream: ReplicationStream,
  through: 'high_watermark' | 'last_stable_offset',
): Promise<ReturnType<typeof checkContinuity>> {
  const recorded = await readCheckpoint(config, kafka, source, through);
  try {
    return await checkAgainstSource(config, kafka, source, stream, recorded, through);
  } catch (error) {
    if (!(error instanceof HaltError)) throw error;
    const again = await readCheckpoint(config, kafka, source, through);
    const isSame = formatCheckpoint(again.checkpoint).equals(formatCheckpoint(recorded.checkpoint));
    throw isSame ? error : new OvertakenError(recorded.checkpoint.throughLsn, again.checkpoint.throughLsn, error);
  }
}

async function readCheckpoint(
  config: CdcReaderConfig,
  kafka: KafkaConnection,
  source: SourceSession,
  through: 'high_watermark' | 'last_stable_offset',
): Promise<Recorded> {
  const { checkpoint, isHidden } = await findCheckpoint(config, kafka, through, true);
  if (checkpoint === null) {
    const slot = await source.readSlot(config.slotName);
    throw explainMissingCheckpoint(config, { isHidden, slot, liveOffsets: await kafka.countLiveOffsets(false) });
  }
  await kafka.ensureTopics({ throughLsn: checkpoint.throughLsn, source });
  if (checkpoint.state !== 'streaming') throw new FirstStartUnfinishedError();
  return { checkpoint, isHidden };
}

// Before fencing, another reader's transaction may just be ending, so the end of the live topic is not checked then.
async function checkAgainstSource(
  config: CdcReaderConfig,
  kafka: KafkaConnection,
  source: SourceSession,
  stream: ReplicationStream,
  { checkpoint, isHidden }: Recorded,
  through: 'high_watermark' | 'last_stable_offset',
): Promise<ReturnType<typeof checkContinuity>> {
  const slot = await source.readSlot(config.slotName);
  const { fingerprint } = await source.readCapture(config.publicationName);
  // Version 1 did not record the tables: what is found takes its place.
  if ('version1' in checkpoint.capture) await requireUsableCapture(config, source, fingerprint);
  const names = await source.readTableNames(recordedOids(checkpoint.capture).map(({ oid }) => oid));
  const witness = findWitness(checkpoint);
  const { flushLsn } = await source.readCurrentWal();
  const isFenced = through === 'high_watermark';
  const { log } = kafka;
  const leastEnd = (partition: number) => findLeastEnd(checkpoint, partition);
  return checkContinuity(checkpoint, {
    isNewest: !isHidden,
    source: { ...stream.identity, flushLsn },
    slot: {
      name: config.slotName,
      plugin: slot?.plugin ?? 'none',
      database: slot?.database ?? 'none',
      confirmedFlushLsn: slot?.confirmedFlushLsn ?? null,
      walStatus: slot?.walStatus ?? null,
      invalidationReason: slot?.invalidationReason ?? null,
    },
    capture: { publicationName: config.publicationName, found: fingerprint, names },
    lastOrderExists: witness === null ? null : (await source.orderExists([witness])).has(witness),
    liveTopicId: isFenced ? await readSettledTopicId(log, config.ordersTopic, checkpoint.liveTopicId) : null,
    live: isFenced ? await readSettledTails(log, config.ordersTopic, leastEnd, READ_DEADLINE_MS) : null,
  });
}

/**
 * Where preflight finds what only an operator can change, the tables may also have been changed under the checkpoint: then
 * the halt has the better advice. It is checked without holding the slot, so only where nobody streams from it. While Kafka or the
 * checkpoint can't be read, preflight's problems stand. @throws TablesChangedError
 */
export async function haltIfTablesChanged(
  { config, logger }: { config: CdcReaderConfig; logger: Logger },
  source: SourceSession,
  found: CaptureFingerprint,
): Promise<void> {
  const slot = await source.readSlot(config.slotName);
  if (slot?.active === true) return;
  const checkpoint = await readPublishedCheckpoint(config, logger);
  if (checkpoint === null) return;
  const differences = compareCapture(checkpoint.capture, found).differences;
  if (!differences.some(({ subject }) => subject === 'table')) return;
  const { capture: recorded, throughLsn } = checkpoint;
  throw await explainCaptureChange(source, config.publicationName, { recorded, differences, throughLsn });
}

/** The newest checkpoint by which something was published from this very database, unless a newer one may be hidden. */
async function readPublishedCheckpoint(config: CdcReaderConfig, logger: Logger): Promise<Checkpoint | null> {
  try {
    const identity = await readIdentity({
      postgres: config.orderDatabase,
      applicationName: config.applicationName,
    });
    await using kafka = new AsyncDisposableStack();
    const open = kafka.adopt(await openKafka(config, logger), (one) => one.close());
    const { checkpoint, isHidden } = await findCheckpoint(config, open, 'last_stable_offset', false);
    if (checkpoint === null || isHidden) return null;
    // An unfinished initial snapshot that has published nothing is taken again, from whatever tables there are by then.
    if (checkpoint.state !== 'streaming' && checkpoint.lastPublished === null) return null;
    const isSame =
      checkpoint.systemIdentifier === identity.systemIdentifier && checkpoint.database === identity.database;
    return isSame ? checkpoint : null;
  } catch (error) {
    logger.debug({ err: error }, 'The checkpoint could not be read beside the preflight problems.');
    return null;
  }
}
