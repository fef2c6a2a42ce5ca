/**
 * The body of `OrderPlaced` version 1 straight to its plain object, for the sink, which decodes each order once.
 *
 * Guarantees: what it returns is what avsc and `toPlainEvent` make of the same bytes; it returns undefined for whatever is
 * unusual (truncated, numbers beyond 2^53, blocks with sizes, bytes behind the body), and the caller then takes the way
 * through avsc, which decides. A property test compares both. Pure; rules of the domain are left to `findProblem`.
 */
import type { Lsn } from './lsn.ts';
import type { OrderPlaced, OrderPlacedItem } from './order-placed.ts';

/** Of the one version that this reads. */
export const DECODED_FINGERPRINT = 0xb13fccb1d39d7e88n;

/** Thrown and caught here: these bytes are for avsc. */
const UNUSUAL = new Error('unusual bytes');
const LARGEST_INT = 2 ** 31 - 1;
const TWO_28 = 2 ** 28;
/** Of 28 bits each, both parts together stay below 2^53 while the upper one is below this. */
const LARGEST_UPPER = 2 ** 25;

let bytes: Buffer = Buffer.alloc(0);
let at = 0;

/** Seven bits a byte, at most four bytes, from bit 0. Whether more follow is in `goesOn`. */
function readFour(): number {
  let value = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = bytes[at];
    if (byte === undefined) throw UNUSUAL;
    at += 1;
    value |= (byte & 0x7f) << shift;
    goesOn = byte > 0x7f;
    if (!goesOn) break;
  }
  return value;
}
let goesOn = false;

/** A zigzag varint below 2^53. */
function readNumber(): number {
  const lower = readFour();
  if (!goesOn) return (lower >>> 1) ^ -(lower & 1);
  const upper = readFour();
  if (goesOn || upper >= LARGEST_UPPER) throw UNUSUAL;
  const zigzag = upper * TWO_28 + lower;
  return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
}

function readInt(): number {
  const value = readNumber();
  if (value > LARGEST_INT || value < -LARGEST_INT - 1) throw UNUSUAL;
  return value;
}

const readLong = (): bigint => BigInt(readNumber());

function readText(): string {
  const length = readNumber();
  const end = at + length;
  if (length < 0 || end > bytes.length) throw UNUSUAL;
  const text = bytes.toString('utf8', at, end);
  at = end;
  return text;
}

function readItem(): OrderPlacedItem {
  const lineNo = readInt();
  const sku = readText();
  const quantity = readInt();
  const unitPriceCents = readLong();
  const branch = readInt();
  if (branch !== 0 && branch !== 1) throw UNUSUAL;
  return { lineNo, sku, quantity, unitPriceCents, cartLineId: branch === 0 ? null : readText().toLowerCase() };
}

function readItems(): OrderPlacedItem[] {
  const items: OrderPlacedItem[] = [];
  for (let count = readInt(); count !== 0; count = readInt()) {
    if (count < 0 || count > bytes.length - at) throw UNUSUAL;
    for (; count > 0; count -= 1) items.push(readItem());
  }
  return items;
}

/** The event whose body lies in `from` to the end of `frame`; undefined where avsc has to decide. */
export function decodeUsualOrder(frame: Buffer, from: number): OrderPlaced | undefined {
  bytes = frame;
  at = from;
  try {
    const event = {
      generation: readInt(),
      timeline: readInt(),
      commitLsn: readLong() as Lsn,
      ordinal: readInt(),
      committedAt: readLong(),
      orderId: readText().toLowerCase(),
      userId: readText(),
      source: readText(),
      currency: readText(),
      totalCents: readLong(),
      placedAt: readLong(),
      items: readItems(),
    };
    return at === bytes.length ? event : undefined;
  } catch (error) {
    if (error === UNUSUAL) return undefined;
    throw error;
  }
}
