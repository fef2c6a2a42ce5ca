/**
 * A Kafka record as an entry of a batch: an order, or bytes that can never become one.
 *
 * Parking is for records that can never succeed, so it is decided here from the bytes alone: malformed, without a
 * value, or under a key that is not its user's (such a record would be out of order with the user's others, I4).
 * An unknown schema and every unexpected error are thrown: a newer program will succeed, so the partition must wait.
 */
import { decodeOrderPlaced, MalformedEventError } from '#schemas/codec.ts';
import type { SinkEntry } from '../apply/batch.ts';

export interface KafkaRecord {
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Not looked at in the live topic. */
  readonly headers?: Readonly<Record<string, Buffer | undefined>>;
}

/** @throws UnknownSchemaError, and whatever a defect throws: neither may be parked. */
export function parseEntry(record: KafkaRecord): SinkEntry {
  const { offset, key, value } = record;
  const unreadable = (reason: string): SinkEntry => ({ kind: 'unreadable', offset, key, value, reason });
  if (value === null) return unreadable('the record has no value');
  try {
    const event = decodeOrderPlaced(value);
    if (key === null || key.toString('utf8') !== event.userId)
      return unreadable('the key is not the userId of the order');
    return { kind: 'order', offset, event };
  } catch (error) {
    if (error instanceof MalformedEventError) return unreadable(error.message);
    throw error;
  }
}
