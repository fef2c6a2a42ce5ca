// The direct decoder against avsc and the rules of events: the same value or the same refusal, whatever the bytes.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readOrderPlaced } from '#schemas/avro/read-order-placed.ts';
import { decodeByAvsc, decodeOrderPlaced } from '#schemas/codec.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { encodeOrderPlaced } from '../support/examples/encode-order-placed.ts';
import { anyEvent, createEvent, createItem } from '../support/examples/order-placed-events.ts';
import { thorough } from '../support/thorough.ts';

const HEADER_BYTES = 10;

function outcomeOf(decode: (bytes: Buffer) => OrderPlaced, bytes: Buffer): unknown {
  try {
    return decode(bytes);
  } catch (error) {
    const { name, message } = error as Error;
    return { name, message };
  }
}

function expectSameOutcome(bytes: Buffer): void {
  expect(outcomeOf(decodeOrderPlaced, bytes)).toEqual(outcomeOf(decodeByAvsc, bytes));
}

const inSafeRange = (value: bigint): bigint => BigInt.asIntN(51, value);

/** As our reader writes it: items by number, texts that a database of orders holds. */
const usualEvent = fc.tuple(anyEvent, fc.constantFrom('cart', 'direct', 'kiosk 7')).map(([event, source]) => ({
  ...event,
  source,
  currency: 'EUR',
  commitLsn: (event.commitLsn % 2n ** 51n) as typeof event.commitLsn,
  committedAt: inSafeRange(event.committedAt),
  totalCents: inSafeRange(event.totalCents),
  placedAt: inSafeRange(event.placedAt),
  items: event.items
    .map((item) => ({ ...item, unitPriceCents: item.unitPriceCents % 2n ** 51n }))
    .toSorted((one, other) => one.lineNo - other.lineNo),
}));

test('events as the reader writes them are read directly', () => {
  fc.assert(
    fc.property(usualEvent, (event) => {
      expect(readOrderPlaced(encodeOrderPlaced(event), HEADER_BYTES)).toEqual(event);
    }),
  );
});

/** Fields at and beyond the edges of what can be applied, and of what is read directly. */
const edges: readonly Partial<OrderPlaced>[] = [
  ...[0, 1, 2 ** 31 - 1, -1].flatMap((number) => [{ generation: number }, { timeline: number }, { ordinal: number }]),
  ...[
    -1n,
    0n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 52n - 1n,
    2n ** 52n,
    2n ** 53n,
    2n ** 63n - 1n,
    -(2n ** 52n),
    -(2n ** 63n),
  ].flatMap((number) => [
    { commitLsn: number as OrderPlaced['commitLsn'] },
    { committedAt: number },
    { totalCents: number },
    { placedAt: number },
    { items: [createItem({ unitPriceCents: number })] },
  ]),
  ...[
    '',
    '0199b7a4-5c1e-7d3a-8f00-00000000000',
    '0199B7A4-5C1E-7D3A-8F00-0000000000C1',
    '0199b7a4-5c1e-7d3a-8f00-0000000000g1',
  ]
    .concat(
      '0199b7a4-5c1e-7d3a-8f00-0000000000c12',
      '0199b7a405c1e-7d3a-8f00-0000000000c1',
      '-199b7a4-5c1e-7d3a-8f00-0000000000c1',
    )
    .flatMap((id) => [{ orderId: id }, { items: [createItem({ cartLineId: id })] }]),
  ...['', 'a', 'x'.repeat(64), 'x'.repeat(65), 'a b', 'é', 'a\0', 'A-Z.0_9:'].flatMap((text) => [
    { userId: text },
    { source: text },
    { currency: text },
    { items: [createItem({ sku: text })] },
  ]),
  ...[0, 1, 1_000_000, 1_000_001, -1].map((quantity) => ({ items: [createItem({ quantity })] })),
  { items: [] },
  ...[
    [2, 1],
    [1, 1],
    [-(2 ** 31), 2 ** 31 - 1],
  ].map((numbers) => ({
    items: numbers.map((lineNo) => createItem({ lineNo, cartLineId: null })),
  })),
];

test.each(edges)('at the edges the outcome is that of avsc: %o', (changes) => {
  expectSameOutcome(encodeOrderPlaced(createEvent(changes)));
});

test('a beginning of an event, and an event with bytes behind it, have the outcome of avsc', () => {
  const bytes = encodeOrderPlaced(createEvent({ items: [createItem(), createItem({ lineNo: 2, cartLineId: null })] }));
  for (let end = 0; end <= bytes.length; end += 1) expectSameOutcome(bytes.subarray(0, end));
  for (let byte = 0; byte < 256; byte += 1) expectSameOutcome(Buffer.concat([bytes, Buffer.of(byte)]));
});

/** The edges of what a byte may be part of, and of numbers. */
const telling = [
  0, 1, 2, 3, 4, 0x20, 0x2d, 0x2f, 0x30, 0x39, 0x3a, 0x41, 0x5a, 0x5f, 0x61, 0x66, 0x67, 0x7a, 0x7f, 0x80, 0xc3, 0xff,
];

test('an event with any one byte changed has the outcome of avsc', () => {
  const bytes = encodeOrderPlaced(createEvent({ items: [createItem(), createItem({ lineNo: 2, cartLineId: null })] }));
  for (let at = 0; at < bytes.length; at += 1) {
    for (const byte of telling) {
      const changed = Buffer.from(bytes);
      changed[at] = byte;
      expectSameOutcome(changed);
    }
  }
});

test('other forms of the same values have the outcome of avsc', () => {
  const bytes = encodeOrderPlaced(createEvent({ items: [createItem()] }));
  const item = bytes.subarray(bytes.length - 1 - itemBytes(createItem()), -1);
  const head = bytes.subarray(0, bytes.length - item.length - 2);
  const [one, none, endless] = [Buffer.of(2), Buffer.of(0), Buffer.alloc(12, 0x80)];
  const sized = Buffer.concat([
    Buffer.of(1),
    Buffer.of(((item.length * 2) % 128) | 0x80, Math.floor((item.length * 2) / 128)),
  ]);
  const other = Buffer.from(item);
  other[0] = 4;
  for (const parts of [
    [head, one, item, none],
    [head, sized, item, none],
    [head, one, item, one, other, none],
    [head, one, item, one, item, none],
    [head, Buffer.of(0x82, 0x00), item, none],
    [head, Buffer.of(0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00), item, none],
    [head, one, item, Buffer.of(0x80, 0x00)],
    [head, endless],
    [head, one, endless],
  ]) {
    expectSameOutcome(Buffer.concat(parts));
  }
});

function itemBytes(item: ReturnType<typeof createItem>): number {
  const two = { items: [item, { ...item, lineNo: 2 }] };
  return encodeOrderPlaced(createEvent(two)).length - encodeOrderPlaced(createEvent({ items: [item] })).length;
}

test('any event, with some bytes changed or not, has the outcome of avsc', () => {
  const change = fc.record({ at: fc.nat(), to: fc.nat(255) });
  fc.assert(
    fc.property(fc.oneof(anyEvent, usualEvent), fc.array(change, { maxLength: 3 }), (event, changes) => {
      const bytes = encodeOrderPlaced(event);
      for (const { at, to } of changes) bytes[at % bytes.length] = to;
      expectSameOutcome(bytes);
    }),
    { numRuns: thorough(3_000) },
  );
});

test('a random body has the outcome of avsc', () => {
  const header = encodeOrderPlaced(createEvent()).subarray(0, HEADER_BYTES);
  const small = fc.constantFrom(0x00, 0x01, 0x02, 0x04, 0x08, 0x48, 0x61, 0x7f, 0x80, 0xfe, 0xff);
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.array(small, { maxLength: 200 })), (body) => {
      expectSameOutcome(Buffer.concat([header, Buffer.from(body)]));
    }),
    { numRuns: thorough(3_000) },
  );
});
