import { isUtf8 } from 'node:buffer';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeOrderPlaced, MalformedEventError, UnknownSchemaError } from '#schemas/codec.ts';
import { encodeOrderPlaced } from '../support/examples/encode-order-placed.ts';
import { anyEvent, createEvent } from '../support/examples/order-placed-events.ts';
import { thorough } from '../support/thorough.ts';

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
    { numRuns: thorough(2_000) },
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
    { numRuns: thorough(5_000) },
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
    { numRuns: thorough(5_000) },
  );
});
