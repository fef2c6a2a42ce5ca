// Reading events of the live topic. Guarantees: only committed ones; a record that can never be decoded (the sinks have parked
// it) is skipped; an event of a schema that this program lacks is an error. Which offsets to read is the caller's decision.
import type { KafkaLog, LogRecord, PartitionOffsets } from '#kafka/reading/log.ts';
import { decodeOrderPlaced, MalformedEventError } from '#schemas/codec.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';

/** Mostly the first record is the wanted one, and a search asks dozens of times: large answers would be decoded for nothing. */
const PROBE_BYTES = 16 * 1024;

export interface FoundEvent {
  readonly offset: bigint;
  readonly event: OrderPlaced;
}

/** The event of a record; undefined if it can never be decoded. @throws UnknownSchemaError */
export function readEvent({ value }: LogRecord): OrderPlaced | undefined {
  if (value === null) return undefined;
  try {
    return decodeOrderPlaced(value);
  } catch (error) {
    if (error instanceof MalformedEventError) return undefined;
    throw error;
  }
}

/** The first event in [fromOffset, untilOffset) that is wanted; null if there is none. */
export async function findFirstEvent(
  log: KafkaLog,
  at: { topic: string; partition: number; fromOffset: bigint; untilOffset: bigint },
  isWanted: (event: OrderPlaced) => boolean = () => true,
): Promise<FoundEvent | null> {
  const read = { ...at, isolation: 'read_committed', deadlineMs: READ_DEADLINE_MS, maxBytes: PROBE_BYTES } as const;
  for await (const records of log.readRecords(read)) {
    for (const record of records) {
      const event = readEvent(record);
      if (event !== undefined && isWanted(event)) return { offset: record.offset, event };
    }
  }
  return null;
}

/**
 * The offsets of a topic, once the last stable offset has reached the high watermark of now: the commit markers of a
 * transaction reach its partitions one by one, so a checkpoint may be visible before its events.
 */
export async function readStableOffsets(log: KafkaLog, topic: string): Promise<Map<number, PartitionOffsets>> {
  const stable = new Map<number, PartitionOffsets>();
  for (const [partition, { earliest, lastStable, highWatermark }] of await log.readOffsets(topic, READ_DEADLINE_MS)) {
    const range = { topic, partition, fromOffset: lastStable, untilOffset: highWatermark };
    const read = { ...range, isolation: 'read_committed', deadlineMs: READ_DEADLINE_MS } as const;
    // Reading up to there ends only once no transaction before it is open.
    for await (const _ of log.readRecords(read));
    stable.set(partition, { earliest, lastStable: highWatermark, highWatermark });
  }
  return stable;
}
