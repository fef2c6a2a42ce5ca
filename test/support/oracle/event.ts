// OrderPlaced events as the oracle reads them: its own walk over the Avro schema, bytes to plain values, and its own
// murmur2. Only the schemas that were published, found by their fingerprint, come from the program (schemas/). A record
// that can't be read is a value (`undefined`), not an error: whether that is a violation depends on who parked it.

import { findOrderPlacedVersion } from '#schemas/catalogue.ts';
import { Varints } from './records.ts';

interface EventItem {
  readonly lineNo: number;
  readonly sku: string;
  readonly quantity: number;
  readonly unitPriceCents: bigint;
  readonly cartLineId: string | null;
}

/** What the latest schema says; fields that later versions add are ignored. */
export interface OrderEvent {
  readonly generation: number;
  readonly timeline: number;
  readonly commitLsn: bigint;
  readonly ordinal: number;
  /** Microseconds since 1970. */
  readonly committedAt: bigint;
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
  readonly currency: string;
  readonly totalCents: bigint;
  readonly placedAt: bigint;
  readonly items: readonly EventItem[];
}

/** A committed event with its place in the log. */
export interface Published {
  readonly partition: number;
  readonly offset: bigint;
  readonly event: OrderEvent;
}

type Schema = string | readonly Schema[] | { type: Schema; fields?: readonly Field[]; items?: Schema };
type Field = { readonly name: string; readonly type: Schema };

/** Decodes Avro single-object encoding; undefined when these bytes are no event of a known schema. */
export function readEvent(value: Buffer | null): OrderEvent | undefined {
  if (value === null || value.length < 10 || value[0] !== 0xc3 || value[1] !== 0x01) return undefined;
  const version = findOrderPlacedVersion(value.readBigUInt64LE(2));
  if (version === undefined) return undefined;
  const body = new Varints(value.subarray(10));
  try {
    const event = readValue(version.type.schema() as Schema, body);
    return body.atEnd ? (event as OrderEvent) : undefined;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function readValue(schema: Schema, body: Varints): unknown {
  if (Array.isArray(schema)) return readValue(schema[body.integer()] as Schema, body);
  const type = typeof schema === 'string' ? schema : (schema as { type: Schema }).type;
  switch (type) {
    case 'null':
      return null;
    case 'int':
      return body.integer();
    case 'long':
      return body.long();
    case 'string':
      return body.bytes()?.toString('utf8');
    case 'record': {
      const record: Record<string, unknown> = {};
      for (const field of (schema as { fields: readonly Field[] }).fields) {
        record[field.name] = readValue(field.type, body);
      }
      return record;
    }
    case 'array':
      return readArray((schema as { items: Schema }).items, body);
    default:
      if (typeof type === 'string') throw new Error(`The oracle does not read Avro's ${type}.`);
      return readValue(type, body);
  }
}

function readArray(items: Schema, body: Varints): unknown[] {
  const values: unknown[] = [];
  for (;;) {
    let count = body.integer();
    if (count === 0) return values;
    if (count < 0) {
      body.integer(); // the block's size in bytes
      count = -count;
    }
    while (count-- > 0) values.push(readValue(items, body));
  }
}

/** The partition that Kafka's Java client gives to a key. */
export function partitionOf(userId: string, partitions: number): number {
  const key = Buffer.from(userId, 'utf8');
  const multiplier = 0x5bd1e995;
  let hash = 0x9747b28c ^ key.length;
  const whole = key.length - (key.length % 4);
  for (let at = 0; at < whole; at += 4) {
    let word = Math.imul(key.readInt32LE(at), multiplier);
    word = Math.imul(word ^ (word >>> 24), multiplier);
    hash = Math.imul(hash, multiplier) ^ word;
  }
  if (whole < key.length) {
    for (let at = key.length - 1; at >= whole; at -= 1) hash ^= key[at]! << (8 * (at - whole));
    hash = Math.imul(hash, multiplier);
  }
  hash = Math.imul(hash ^ (hash >>> 13), multiplier);
  return ((hash ^ (hash >>> 15)) & 0x7fffffff) % partitions;
}

type PlaceInHistory = Pick<OrderEvent, 'timeline' | 'commitLsn' | 'ordinal'>;

/** By timeline, commit, ordinal. */
export function comparePlaces(a: PlaceInHistory, b: PlaceInHistory): number {
  if (a.timeline !== b.timeline) return a.timeline - b.timeline;
  return a.commitLsn < b.commitLsn ? -1 : a.commitLsn > b.commitLsn ? 1 : a.ordinal - b.ordinal;
}

export const lsnText = (lsn: bigint) =>
  `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
export const positionText = (at: PlaceInHistory) => `${at.timeline}:${lsnText(at.commitLsn)}:${at.ordinal}`;
export const place = ({ partition, offset }: { partition: number; offset: bigint }) =>
  `partition ${partition} offset ${offset}`;
