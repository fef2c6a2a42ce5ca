// The topic in which a reader stores its progress: compacted, one partition, and the newest committed record whose key is
// the slot's name counts. Guarantees: a read sees everything committed before it began, since it goes to the high
// watermark of that moment and waits for an open transaction that hides the end. What the record says is left to
// schemas/checkpoint.ts; that only one producer writes here, to the transactional id.

import type { OutgoingRecord } from '#kafka/protocol/record.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import { findNewestRecord } from '#kafka/reading/newest-record.ts';
import { LogReadDeadlineError } from './errors.ts';

export interface CheckpointTopic {
  /**
   * Reads the newest committed record of the slot. Both fields are null if there is none; `record` is null if a tombstone
   * deleted it. Reads to the high watermark, or, as `last_stable_offset`, to the last stable offset: a reader that has not fenced its
   * predecessor can't wait for a transaction which that one may have left open. Throws {@link CheckpointHiddenError}
   * after `deadlineMs`, and what `KafkaLog` throws.
   */
  read(
    deadlineMs: number,
    through?: 'high_watermark' | 'last_stable_offset',
  ): Promise<{ record: Buffer | null; offset: bigint | null }>;
  /** The record to send for a checkpoint of these bytes. */
  record(value: Buffer): OutgoingRecord;
}

/** The end of the checkpoint topic could not be read in time, so what was published last is unknown. */
class CheckpointHiddenError extends Error {
  readonly code = 'CHECKPOINT_HIDDEN';

  constructor(
    topic: string,
    at: { position: bigint; lastStable: bigint; highWatermark: bigint; deadlineMs: number },
    options?: ErrorOptions,
  ) {
    super(
      `${topic} could not be read to its high watermark ${at.highWatermark} within ${at.deadlineMs} ms: reading stopped at ` +
        `offset ${at.position}, the last stable offset was ${at.lastStable}. Either brokers are unavailable, or an open ` +
        `transaction of an earlier reader hides the rest until that reader is fenced or the transaction times out. If it stays, ` +
        'abort it (kafka-transactions.sh find-hanging, abort).',
      options,
    );
    this.name = 'CheckpointHiddenError';
  }
}

/** Creates the access to `slotName`'s checkpoints in `topic`. It holds nothing that needs closing. */
export function createCheckpointTopic(options: { log: KafkaLog; topic: string; slotName: string }): CheckpointTopic {
  const { log, topic, slotName } = options;
  const key = Buffer.from(slotName, 'utf8');
  return {
    record: (value) => ({ topic, partition: 0, key: slotName, value }),
    async read(deadlineMs, through = 'high_watermark') {
      const startMs = performance.now();
      const { earliest, lastStable, highWatermark } = (await log.readOffsets(topic, deadlineMs)).get(0)!;
      try {
        const found = await findNewestRecord(log, {
          topic,
          partition: 0,
          earliest,
          untilOffset: through === 'last_stable_offset' ? lastStable : highWatermark,
          deadlineMs: Math.max(1, startMs + deadlineMs - performance.now()),
          isWanted: (record) => record.key?.equals(key) === true,
        });
        return { record: found?.value ?? null, offset: found?.offset ?? null };
      } catch (error) {
        if (!(error instanceof LogReadDeadlineError)) throw error;
        const at = { position: error.position, lastStable, highWatermark, deadlineMs };
        throw new CheckpointHiddenError(topic, at, { cause: error });
      }
    },
  };
}
