// The checkpoint of a start, checked against everything that can contradict it: the server, the slot, the publication and
// the live topic. Guarantees: what is returned may be gone on from, as far as this moment tells (I11); facts of two
// moments, taken while another reader was publishing, are looked at again and halt nobody. Collecting the facts is all that
// happens here: judging them is continuity.ts's, and when to look is start-up.ts's.
import { HaltError } from '#service/halt.ts';
import { type Checkpoint, formatCheckpoint } from './checkpoint.ts';
import type { CdcReaderConfig } from './config.ts';
import { checkContinuity } from './continuity.ts';
import { type KafkaConnection, READ_DEADLINE_MS } from './kafka/connection.ts';
import { readPartitionTails } from './live-topic.ts';
import type { ReplicationStream } from './postgres/replication-stream.ts';
import type { SourceSession } from './postgres/source-session.ts';
import { explainMissingCheckpoint, type FoundCheckpoint, findCheckpoint } from './read-checkpoint.ts';
import { FirstStartUnfinishedError, OvertakenError } from './restart-errors.ts';

type Recorded = FoundCheckpoint & { readonly checkpoint: Checkpoint };

/**
 * The checkpoint, if it fits to source and live topic. A reader that was stopped in the midst of looking, long enough
 * for another one to take the slot and publish, must not take that for a gap. @throws OvertakenError, HaltErrors
 */
export async function readVerifiedCheckpoint(
  config: CdcReaderConfig,
  kafka: KafkaConnection,
  source: SourceSession,
  stream: ReplicationStream,
  through: 'high_watermark' | 'settled',
): Promise<Checkpoint> {
  const recorded = await readCheckpoint(config, kafka, source, through);
  try {
    return await checkAgainstSource(config, kafka, source, stream, recorded, through);
  } catch (error) {
    if (!(error instanceof HaltError)) throw error;
    const again = await readCheckpoint(config, kafka, source, through);
    const isSame = formatCheckpoint(again.checkpoint).equals(formatCheckpoint(recorded.checkpoint));
    throw isSame ? error : new OvertakenError(error);
  }
}

async function readCheckpoint(
  config: CdcReaderConfig,
  kafka: KafkaConnection,
  source: SourceSession,
  through: 'high_watermark' | 'settled',
): Promise<Recorded> {
  const { checkpoint, isHidden } = await findCheckpoint(config, kafka, through, true);
  if (checkpoint === null) {
    const slot = await source.readSlot(config.slotName);
    throw explainMissingCheckpoint(config, { isHidden, slot, liveOffsets: await kafka.countLiveOffsets(false) });
  }
  const readFlushLsn = async () => (await source.readCurrentWal()).flushLsn;
  await kafka.ensureTopics({ throughLsn: checkpoint.throughLsn, readFlushLsn });
  if (checkpoint.state !== 'streaming') throw new FirstStartUnfinishedError();
  return { checkpoint, isHidden };
}

// Before fencing, another reader's transaction may just be ending, so the end of the live topic is not judged then.
async function checkAgainstSource(
  config: CdcReaderConfig,
  kafka: KafkaConnection,
  source: SourceSession,
  stream: ReplicationStream,
  { checkpoint, isHidden }: Recorded,
  through: 'high_watermark' | 'settled',
): Promise<Checkpoint> {
  const slot = await source.readSlot(config.slotName);
  const publication = await source.readPublication(config.publicationName);
  const last = checkpoint.lastPublished;
  const { flushLsn } = await source.readCurrentWal();
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
    publication: { name: config.publicationName, fingerprint: publication?.fingerprint ?? null },
    lastOrderExists: last === null ? null : (await source.orderExists([last.orderId])).has(last.orderId),
    live: through === 'settled' ? null : await readPartitionTails(kafka.log, config.ordersTopic, READ_DEADLINE_MS),
  });
}
