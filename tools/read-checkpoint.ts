import { createCheckpointTopic } from '#kafka/checkpoint-topic.ts';
import { TopicMissingError } from '#kafka/errors.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import { type Checkpoint, parseCheckpoint } from '#schemas/checkpoint.ts';

/** How long Kafka may deliver nothing before a command gives up. */
export const READ_DEADLINE_MS = 10_000;

/**
 * The newest checkpoint of a slot; null if there is none, or no such topic. Reads to the last stable offset: a command that
 * fences nobody can't wait for a transaction which a reader may have left open.
 */
export async function readCheckpoint(
  log: KafkaLog,
  { checkpointTopic, slotName }: { readonly checkpointTopic: string; readonly slotName: string },
): Promise<Checkpoint | null> {
  try {
    const topic = createCheckpointTopic({ log, topic: checkpointTopic, slotName });
    const { record } = await topic.read(READ_DEADLINE_MS, 'last_stable_offset');
    return record && parseCheckpoint(record);
  } catch (error) {
    if (error instanceof TopicMissingError) return null;
    throw error;
  }
}
