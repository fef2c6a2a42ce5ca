// Where the reader's progress is stored: one compacted topic of one partition, in which the last committed record with
// the slot's name as key counts. Guarantees: a read sees everything committed before it began, since it goes to the high
// watermark of that moment, and waits for an open transaction that hides the end. What the record says is left to
// checkpoint.ts; that only one producer writes here, to the transactional id.

import { LogReadDeadlineError } from '#service/kafka-errors.ts';
import type { KafkaLog } from '#service/kafka-log.ts';
import type { OutgoingRecord } from './split-sends.ts';

export interface CheckpointTopic {
  /**
   * Reads the latest committed record of the slot; nulls when there is none, a null record when it was deleted by a
   * tombstone. Reads to the high watermark, or, as `settled`, only to where nothing is open: a reader that has not
   * fenced its predecessor can't wait for the transaction that this one may have left open. Throws
   * {@link CheckpointHiddenError} after `deadlineMs`, and what `KafkaLog` throws.
   */
  read(
    deadlineMs: number,
    through?: 'high_watermark' | 'settled',
  ): Promise<{ record: Buffer | null; offset: bigint | null }>;
  /** The record to send for a checkpoint of these bytes. */
  record(value: Buffer): OutgoingRecord;
}

/** The end of the checkpoint topic could not be read in time, so that nobody knows what was published last. */
export class CheckpointHiddenError extends Error {
  readonly code = 'CHECKPOINT_HIDDEN';

  constructor(
    topic: string,
    at: { position: bigint; lastStable: bigint; highWatermark: bigint; deadlineMs: number },
    options?: ErrorOptions,
  ) {
    super(
      `${topic} could be read up to offset ${at.position} of ${at.highWatermark} within ${at.deadlineMs} ms; stable was ` +
        `what lies before ${at.lastStable}. Brokers are away, or an open transaction of a dead reader hides the rest: ` +
        `fencing it, or its timeout, ends that.`,
      options,
    );
    this.name = 'CheckpointHiddenError';
  }
}

/** The last checkpoint is nearly always among the last few records: one is written with every transaction. */
const firstWindow = 64n;
const windowGrowth = 32n;

/** Creates the reader and writer of `slotName`'s checkpoints in `topic`. Holds nothing that needs closing. */
export function createCheckpointTopic(options: { log: KafkaLog; topic: string; slotName: string }): CheckpointTopic {
  const { log, topic, slotName } = options;
  const key = Buffer.from(slotName, 'utf8');
  return {
    record: (value) => ({ topic, partition: 0, key: slotName, value }),
    async read(deadlineMs, through = 'high_watermark') {
      const startMs = performance.now();
      const leftMs = () => Math.max(1, startMs + deadlineMs - performance.now());
      const offsets = (await log.readOffsets(topic, deadlineMs)).get(0)!;
      const { earliest, lastStable, highWatermark } = offsets;
      let untilOffset = through === 'settled' ? lastStable : highWatermark;
      for (let window = firstWindow; untilOffset > earliest; window *= windowGrowth) {
        const fromOffset = untilOffset - window > earliest ? untilOffset - window : earliest;
        let latest: { record: Buffer | null; offset: bigint } | undefined;
        const read = { topic, partition: 0, fromOffset, untilOffset, isolation: 'read_committed' } as const;
        try {
          for await (const records of log.readRecords({ ...read, deadlineMs: leftMs() })) {
            for (const { key: recordKey, value, offset } of records) {
              if (recordKey?.equals(key)) latest = { record: value && Buffer.from(value), offset };
            }
          }
        } catch (error) {
          if (!(error instanceof LogReadDeadlineError)) throw error;
          const at = { position: error.position, lastStable, highWatermark, deadlineMs };
          throw new CheckpointHiddenError(topic, at, { cause: error });
        }
        if (latest !== undefined) return latest;
        untilOffset = fromOffset;
      }
      return { record: null, offset: null };
    },
  };
}
