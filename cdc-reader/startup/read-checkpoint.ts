// Finds the newest checkpoint, and tells whether a newer one may not be seen yet: a commit's answer comes before its marker
// is in the partition, long before when the broker dies in between. So a reader that has fenced nobody may see a slot and
// no checkpoint, right after a first start has written its intent, or a slot that has been told of more than the checkpoint
// that it sees. What a checkpoint says is checkpoint.ts's.
import { type Checkpoint, MalformedCheckpointError, parseCheckpoint } from '#schemas/checkpoint.ts';
import type { CdcReaderConfig } from '../config.ts';
import { CheckpointMissingError, CheckpointUnreadableError } from '../errors.ts';
import type { SlotState } from '../postgres/source-session.ts';
import { CheckpointUndecidedError } from '../supervise/restart-errors.ts';
import { type KafkaConnection, READ_DEADLINE_MS } from './kafka-connection.ts';

/** A halt instead of a plain error: going on without the checkpoint would publish again what is published. */
function parseRecord(record: Buffer): Checkpoint {
  try {
    return parseCheckpoint(record);
  } catch (error) {
    throw error instanceof MalformedCheckpointError ? new CheckpointUnreadableError(error.cause) : error;
  }
}

export interface FoundCheckpoint {
  readonly checkpoint: Checkpoint | null;
  /** A transaction was open in its topic, behind which a newer one may be. */
  readonly isHidden: boolean;
}

/** `isExpected`: a checkpoint topic that seems missing is looked for again. @throws CheckpointUnreadableError, or what Kafka said */
export async function findCheckpoint(
  config: Pick<CdcReaderConfig, 'checkpointTopic'>,
  kafka: Pick<KafkaConnection, 'checkpointTopic' | 'hasCheckpointTopic' | 'log'>,
  through: 'high_watermark' | 'last_stable_offset',
  isExpected: boolean,
): Promise<FoundCheckpoint> {
  if (!(await kafka.hasCheckpointTopic(isExpected))) return { checkpoint: null, isHidden: false };
  // Looked at before the read: what ends in between is seen by it, or counted as open here.
  const before = (await kafka.log.readOffsets(config.checkpointTopic, READ_DEADLINE_MS)).get(0);
  const { record } = await kafka.checkpointTopic.read(READ_DEADLINE_MS, through);
  const isOpen = before !== undefined && before.lastStable < before.highWatermark;
  const isHidden = through === 'last_stable_offset' && isOpen;
  return { checkpoint: record === null ? null : parseRecord(record), isHidden };
}

/** Why a reader can't go on that found a slot or events, but no checkpoint: a halt, unless the next look may find one. */
export function explainMissingCheckpoint(
  config: Pick<CdcReaderConfig, 'checkpointTopic' | 'slotName'>,
  found: { isHidden: boolean; slot: Pick<SlotState, 'confirmedFlushLsn'> | null; liveOffsets: bigint },
): Error {
  if (found.isHidden) return new CheckpointUndecidedError(config.checkpointTopic);
  return new CheckpointMissingError(config, found.slot, found.liveOffsets);
}
