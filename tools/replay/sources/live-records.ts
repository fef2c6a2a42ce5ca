// Reading events out of partitions of the live topic. Guarantees: only what is committed; a record that can never be
// decoded (the sinks have parked it) is passed over and counted, an event of a schema that this program lacks is an
// error. Which offsets to read is the caller's.

import type { KafkaLog, LogRecord, PartitionOffsets } from '#kafka/reading/log.ts';
import { decodeOrderPlaced, MalformedEventError } from '#schemas/codec.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { FoundEvent } from './find-offset.ts';

/** How long Kafka may give nothing before the tool gives up. */
export const READ_DEADLINE_MS = 10_000;

/** The event of a record; undefined when it can never be decoded. @throws UnknownSchemaError */
export function readEvent({ value }: LogRecord): OrderPlaced | undefined {
  if (value === null) return undefined;
  try {
    return decodeOrderPlaced(value);
  } catch (error) {
    if (error instanceof MalformedEventError) return undefined;
    throw error;
  }
}

/** The first event in [fromOffset, untilOffset); null when there is none. */
export async function findFirstEvent(
  log: KafkaLog,
  at: { topic: string; partition: number; fromOffset: bigint; untilOffset: bigint },
): Promise<FoundEvent | null> {
  const read = { ...at, isolation: 'read_committed', deadlineMs: READ_DEADLINE_MS } as const;
  for await (const records of log.readRecords(read)) {
    for (const record of records) {
      const event = readEvent(record);
      if (event !== undefined) return { offset: record.offset, ...event };
    }
  }
  return null;
}

/**
 * The offsets of a topic, once everything below the high watermark of the first look is settled: the markers of a
 * transaction reach its partitions one by one, and a checkpoint may be seen before its events.
 */
export async function readSettledOffsets(log: KafkaLog, topic: string): Promise<Map<number, PartitionOffsets>> {
  const offsets = await log.readOffsets(topic, READ_DEADLINE_MS);
  const settled = new Map<number, PartitionOffsets>();
  for (const [partition, { earliest, highWatermark }] of offsets) {
    // Reading up to there ends only when nothing before it is open.
    const range = { topic, partition, fromOffset: offsets.get(partition)!.lastStable, untilOffset: highWatermark };
    const read = { ...range, isolation: 'read_committed', deadlineMs: READ_DEADLINE_MS } as const;
    for await (const _ of log.readRecords(read));
    settled.set(partition, { earliest, lastStable: highWatermark, highWatermark });
  }
  return settled;
}
