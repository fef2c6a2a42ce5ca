import { isUtf8 } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { latestOrderPlaced } from '#schemas/catalogue.ts';
import { decodeOrderPlaced, encodeOrderPlaced, MalformedEventError, UnknownSchemaError } from '#schemas/codec.ts';
import { DECODED_FINGERPRINT, decodeUsualOrder } from '#schemas/decode-order-placed.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { anyEvent, createEvent } from '../support/examples/order-placed-events.ts';

/** Fails on any error but the two that a consumer knows what to do with. */
function decodeOrRefuse(bytes: Buffer): 'decoded' | 'malformed' | 'unknown schema' {
  try {
    decodeOrderPlaced(bytes);
    return 'decoded';
  } catch (error) {
    if (error instanceof MalformedEventError) return 'malformed';
    if (error instanceof UnknownSchemaError) return 'unknown schema';
    throw error;
  }
}

test('every event that can be applied survives its bytes', () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      expect(decodeOrderPlaced(encodeOrderPlaced(event))).toEqual(event);
    }),
  );
});

test('every proper beginning of an event is malformed', () => {
  fc.assert(
    fc.property(anyEvent, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (event, part) => {
      const bytes = encodeOrderPlaced(event);
      expect(decodeOrRefuse(bytes.subarray(0, Math.floor(bytes.length * part)))).toBe('malformed');
    }),
  );
});

test('bytes after an event make it malformed', () => {
  fc.assert(
    fc.property(anyEvent, fc.uint8Array({ minLength: 1, maxLength: 20 }), (event, more) => {
      expect(decodeOrRefuse(Buffer.concat([encodeOrderPlaced(event), more]))).toBe('malformed');
    }),
  );
});

test('random bytes are refused by one of the two errors, never by another', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(decodeOrRefuse(Buffer.from(bytes))).not.toBe('decoded');
    }),
    { numRuns: 2_000 },
  );
});

test('a random body behind a good header is decoded or malformed, and never takes long', () => {
  const header = encodeOrderPlaced(createEvent()).subarray(0, 10);
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    // Varints without end, and huge counts and lengths.
    fc
      .array(fc.constantFrom(0x00, 0x01, 0x02, 0x7f, 0x80, 0xfe, 0xff), { maxLength: 2_000 })
      .map((bytes) => Uint8Array.from(bytes)),
  );
  fc.assert(
    fc.property(hostile, (body) => {
      const before = process.threadCpuUsage();
      expect(decodeOrRefuse(Buffer.concat([header, body]))).not.toBe('unknown schema');
      // Of this thread's own time, so that a busy machine does not count.
      expect(process.threadCpuUsage(before).user).toBeLessThan(1_000_000);
    }),
    { numRuns: 5_000 },
  );
});

test('an event with bytes changed is decoded, malformed or of an unknown schema, and can be written again', () => {
  const change = fc.record({ at: fc.nat(), to: fc.nat(255) });
  fc.assert(
    fc.property(anyEvent, fc.array(change, { minLength: 1, maxLength: 3 }), (event, changes) => {
      const bytes = encodeOrderPlaced(event);
      for (const { at, to } of changes) bytes[at % bytes.length] = to;
      // A text that is no UTF-8 any more is read with replacement characters; what can be applied is checked by form.
      if (decodeOrRefuse(bytes) !== 'decoded' || !isUtf8(bytes.subarray(10))) return;
      const decoded = decodeOrderPlaced(bytes);
      expect(decodeOrderPlaced(encodeOrderPlaced(decoded))).toEqual(decoded);
    }),
    { numRuns: 5_000 },
  );
});

/** What avsc makes of the body, as a plain object with ids in lower case; undefined where it refuses. */
function decodeByAvsc(bytes: Buffer): object | undefined {
  try {
    const { value, offset } = latestOrderPlaced.type.decode(bytes, 10) as { value: OrderPlaced; offset: number };
    if (offset !== bytes.length) return undefined;
    const items = value.items.map((item) => ({ ...item, cartLineId: item.cartLineId?.toLowerCase() ?? null }));
    return { ...value, orderId: value.orderId.toLowerCase(), items };
  } catch {
    return undefined;
  }
}

/** Of the magnitudes that real orders have. */
const usual = anyEvent.map((event) => ({
  ...event,
  commitLsn: BigInt.asUintN(48, event.commitLsn) as OrderPlaced['commitLsn'],
  committedAt: BigInt.asIntN(52, event.committedAt),
  totalCents: BigInt.asIntN(40, event.totalCents),
  placedAt: BigInt.asIntN(52, event.placedAt),
  items: event.items.map((item) => ({ ...item, unitPriceCents: BigInt.asUintN(31, item.unitPriceCents) })),
}));

test('the direct decoder is of the latest version', () => {
  expect(DECODED_FINGERPRINT).toBe(latestOrderPlaced.fingerprint);
});

test('the direct decoder gives what avsc gives, for usual events always', () => {
  fc.assert(
    fc.property(usual, (event) => {
      expect(decodeUsualOrder(encodeOrderPlaced(event), 10)).toEqual(event);
    }),
  );
  fc.assert(
    fc.property(anyEvent, (event) => {
      const bytes = encodeOrderPlaced(event);
      const direct = decodeUsualOrder(bytes, 10);
      if (direct !== undefined) expect(direct).toEqual(decodeByAvsc(bytes));
    }),
  );
});

test('the direct decoder refuses, or gives what avsc gives, whatever the bytes are', () => {
  const change = fc.record({ at: fc.nat(), to: fc.oneof(fc.nat(255), fc.constantFrom(0, 0x7f, 0x80, 0xff)) });
  const changes = fc.array(change, { minLength: 1, maxLength: 4 });
  let decoded = 0;
  fc.assert(
    fc.property(usual, changes, fc.nat(3), (event, changed, cut) => {
      const whole = encodeOrderPlaced(event);
      for (const { at, to } of changed) whole[10 + (at % (whole.length - 10))] = to;
      const bytes = whole.subarray(0, whole.length - cut);
      const direct = decodeUsualOrder(bytes, 10);
      if (direct === undefined) return;
      decoded += 1;
      expect(direct).toEqual(decodeByAvsc(bytes));
    }),
    { numRuns: 4_000 },
  );
  expect(decoded).toBeGreaterThan(100);
});
