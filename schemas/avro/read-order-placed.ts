/**
 * Reads the body of an `OrderPlaced` of the latest schema in one pass over its bytes, checks included, at a fraction of what
 * avsc and `findProblem` take.
 *
 * Guarantees: an event that is returned equals what these two let pass of the same bytes (property test). Whatever is not in
 * the form in which our reader writes it is undefined, good or bad: codec.ts leaves it to them, who alone refuse.
 */
import { endianness } from 'node:os';
import type { Lsn } from '../lsn.ts';
import { LARGEST_QUANTITY, type OrderPlaced, type OrderPlacedItem } from '../order-placed.ts';

/** Of the event that is being read; what is unusual moves `at` beyond `bytes`, where everything reads as zero. */
let bytes: Buffer = Buffer.alloc(0);
let at = 0;
/** The same bytes, one character each: a text of ASCII is a slice of it, without a call out of compiled code. */
let characters = '';

/** The event in `encoded` from `start` to the end, or undefined. */
export function readOrderPlaced(encoded: Buffer, start: number): OrderPlaced | undefined {
  bytes = encoded;
  at = start;
  characters = encoded.toString('latin1');
  const event: OrderPlaced = {
    generation: readInt(1, LARGEST_INT),
    timeline: readInt(1, LARGEST_INT),
    commitLsn: readLong(0) as Lsn,
    ordinal: readInt(0, LARGEST_INT),
    committedAt: readLong(-Infinity),
    orderId: readUuid(),
    userId: readText(IDENTIFIER, LONGEST_IDENTIFIER),
    source: readText(ASCII, Infinity),
    currency: readText(ASCII, Infinity),
    totalCents: readLong(-Infinity),
    placedAt: readLong(-Infinity),
    items: readItems(),
  };
  return at === encoded.length ? event : undefined;
}

/** One block, and the empty one that ends the array. */
function readItems(): OrderPlacedItem[] {
  const items: OrderPlacedItem[] = [];
  let smallest = -LARGEST_INT - 1;
  for (let left = readInt(1, bytes.length); left > 0 && at < bytes.length; left -= 1) {
    const lineNo = readInt(smallest, LARGEST_INT);
    smallest = lineNo + 1; // our reader sorts them, so none comes twice
    const sku = readText(IDENTIFIER, LONGEST_IDENTIFIER);
    const quantity = readInt(1, LARGEST_QUANTITY);
    const unitPriceCents = readLong(0);
    items.push({ lineNo, sku, quantity, unitPriceCents, cartLineId: readInt(0, 1) === 0 ? null : readUuid() });
  }
  readInt(0, 0);
  return items;
}

const LARGEST_INT = 2 ** 31 - 1;

function readInt(smallest: number, largest: number): number {
  const value = readNumber();
  return value < smallest || value > largest ? giveUp() : value;
}

/** A bigint is made of two halves in compiled code; `BigInt(…)` is a call out of it. */
const halves = new Int32Array(2);
const whole = new BigInt64Array(halves.buffer);
const LOW = endianness() === 'LE' ? 0 : 1;

function readLong(smallest: number): bigint {
  const value = readNumber();
  if (value < smallest) giveUp();
  halves[LOW] = value;
  halves[1 - LOW] = Math.floor(value / 2 ** 32);
  return whole[0]!;
}

/** Of the eighth byte of a varint: what is longer may not fit a double. */
const LARGEST_SCALE = 2 ** 49;

/** A whole number in zigzag form. */
function readNumber(): number {
  let byte = bytes[at++]!;
  if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1);
  let zigzag = byte & 0x7f;
  for (let scale = 0x80; byte >= 0x80; scale *= 0x80) {
    if (scale > LARGEST_SCALE) return giveUp();
    byte = bytes[at++]!;
    zigzag += (byte & 0x7f) * scale;
  }
  if (zigzag > Number.MAX_SAFE_INTEGER) return giveUp();
  const half = Math.floor(zigzag / 2);
  return half * 2 === zigzag ? half : -half - 1;
}

/** What a byte may be part of. */
const [ASCII, IDENTIFIER, HEX, HYPHEN] = [1, 2, 4, 8];
const LONGEST_IDENTIFIER = 64;
const kinds = Uint8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  const isAscii = byte > 0 && byte < 0x80;
  return (
    (isAscii ? ASCII : 0) |
    (/[A-Za-z0-9._:-]/.test(character) ? IDENTIFIER : 0) |
    (/[0-9a-f]/.test(character) ? HEX : 0) |
    (character === '-' ? HYPHEN : 0)
  );
});

/** 1 to `longest` characters, all of `kind`. */
function readText(kind: number, longest: number): string {
  const length = readInt(1, longest);
  const start = at;
  at += length;
  if (at > bytes.length) return '';
  for (let index = start; index < at; index += 1) if ((kinds[bytes[index]!]! & kind) === 0) giveUp();
  return characters.slice(start, at);
}

const UUID_PLACES = Uint8Array.from('xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx', (place) => (place === '-' ? HYPHEN : HEX));

function readUuid(): string {
  readInt(UUID_PLACES.length, UUID_PLACES.length);
  const start = at;
  at += UUID_PLACES.length;
  if (at > bytes.length) return '';
  for (let index = 0; index < UUID_PLACES.length; index += 1) {
    if ((kinds[bytes[start + index]!]! & UUID_PLACES[index]!) === 0) giveUp();
  }
  return characters.slice(start, at);
}

function giveUp(): 0 {
  at = bytes.length + 1;
  return 0;
}
