import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { latestOrderPlaced, orderPlacedVersions } from '#schemas/catalogue.ts';
import { decodeOrderPlaced, MalformedEventError, UnknownSchemaError } from '#schemas/codec.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { encodeOrderPlaced } from '../../support/examples/encode-order-placed.ts';
import { createEvent, createItem } from '../../support/examples/order-placed-events.ts';

const SCHEMAS = new URL('../../../schemas/', import.meta.url);
const LONGS = new Set(['commitLsn', 'committedAt', 'totalCents', 'placedAt', 'unitPriceCents']);

interface Golden {
  readonly fingerprint: string;
  readonly cases: readonly { readonly name: string; readonly hex: string; readonly event: OrderPlaced }[];
}

/** Made with another implementation of Avro (fastavro), so that agreeing with ourselves is not enough. */
function readGolden(version: number): Golden {
  const text = readFileSync(new URL(`golden/order-placed.v${version}.json`, SCHEMAS), 'utf8');
  return JSON.parse(text, (key, value) => (LONGS.has(key) ? BigInt(value) : value));
}

describe.each(orderPlacedVersions.map(({ version, fingerprint }) => ({ version, fingerprint })))(
  'version $version of OrderPlaced',
  ({ version, fingerprint }) => {
    const golden = readGolden(version);

    test('keeps the fingerprint that it was published with', () => {
      expect(fingerprint).toBe(Buffer.from(golden.fingerprint, 'hex').readBigUInt64LE());
    });

    test.each(golden.cases)('decodes the golden bytes of $name', ({ hex, event }) => {
      const decoded = decodeOrderPlaced(Buffer.from(hex, 'hex'));
      // Fields that later versions have added get their defaults.
      expect(decoded).toMatchObject(event);
    });
  },
);

test('the latest version writes exactly the golden bytes', () => {
  const { cases } = readGolden(latestOrderPlaced.version);
  expect(cases.map(({ event }) => encodeOrderPlaced(event).toString('hex'))).toEqual(cases.map(({ hex }) => hex));
});

test('no schema file was left out of the catalogue', () => {
  const files = readdirSync(SCHEMAS).filter((file) => file.endsWith('.avsc'));
  expect(files.sort()).toEqual(orderPlacedVersions.map(({ version }) => `order-placed.v${version}.avsc`).sort());
});

test('every field of every schema file is documented for readers outside this repository', () => {
  const undocumented: string[] = [];
  for (const { version } of orderPlacedVersions) {
    const text = readFileSync(new URL(`order-placed.v${version}.avsc`, SCHEMAS), 'utf8');
    JSON.parse(text, (_key, value) => {
      if (value?.name !== undefined && !value.doc) undocumented.push(`v${version} ${value.name}`);
    });
    expect(text.match(/"doc"/g)!.length).toBeGreaterThan(10);
  }
  expect(undocumented).toEqual([]);
});

test('ids in upper case are decoded in lower case', () => {
  const lower = createEvent();
  const bytes = encodeOrderPlaced({
    ...lower,
    orderId: lower.orderId.toUpperCase(),
    items: [createItem({ cartLineId: createItem().cartLineId!.toUpperCase() })],
  });
  expect(decodeOrderPlaced(bytes)).toEqual(lower);
});

test('items in blocks with sizes, as other writers may send them, are decoded', () => {
  const event = createEvent();
  const bytes = encodeOrderPlaced(event);
  const itemStart = bytes.indexOf('sku-1') - 2;
  const itemBytes = bytes.subarray(itemStart, bytes.length - 1);
  // Zigzag: -1 item, its size in bytes, the item, then the end of the array.
  expect(bytes[itemStart - 1]).toBe(2);
  const blocks = [bytes.subarray(0, itemStart - 1), [0x01], [itemBytes.length * 2], itemBytes, [0x00]];
  expect(itemBytes.length).toBeLessThan(64);
  expect(decodeOrderPlaced(Buffer.concat(blocks.map((part) => Buffer.from(part))))).toEqual(event);
});

describe('what has the right form and no sense is malformed, naming the field and not the value', () => {
  test.each<[string, Partial<OrderPlaced>]>([
    ['generation', { generation: 0 }],
    ['timeline', { timeline: 0 }],
    ['commitLsn', { commitLsn: -1n as never }],
    ['ordinal', { ordinal: -1 }],
    ['orderId', { orderId: 'secret-value' }],
    ['orderId', { orderId: '0199b7a4-5c1e-7d3a-8f00-00000000000g' }],
    ['userId', { userId: '' }],
    ['userId', { userId: 'secret value' }],
    ['userId', { userId: 'a'.repeat(65) }],
    ['userId', { userId: 'a\n' }],
    ['source', { source: '' }],
    ['source', { source: 'a\0b' }],
    ['currency', { currency: '' }],
    ['currency', { currency: '\0' }],
    ['items', { items: [] }],
    ['items.1.lineNo', { items: [createItem(), createItem()] }],
    ['items.0.sku', { items: [createItem({ sku: 'ü' })] }],
    ['items.0.quantity', { items: [createItem({ quantity: 0 })] }],
    ['items.0.quantity', { items: [createItem({ quantity: 1_000_001 })] }],
    ['items.0.unitPriceCents', { items: [createItem({ unitPriceCents: -1n })] }],
    ['items.0.cartLineId', { items: [createItem({ cartLineId: '' })] }],
    ['items.0.cartLineId', { items: [createItem({ cartLineId: 'secret-value' })] }],
  ])('%s', (field, changes) => {
    const decode = () => decodeOrderPlaced(encodeOrderPlaced(createEvent(changes)));
    expect(decode).toThrow(MalformedEventError);
    expect(decode).toThrow(new RegExp(`^${field.replaceAll('.', '\\.')}: expected `));
    expect(decode).not.toThrow(/secret/);
  });
});

describe('bytes that are no event', () => {
  const good = encodeOrderPlaced(createEvent());

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['a header without the last byte', good.subarray(0, 9)],
    ['a header alone', good.subarray(0, 10)],
    ['another first byte', Buffer.concat([Buffer.from([0xc2]), good.subarray(1)])],
    ['another second byte', Buffer.concat([Buffer.from([0xc3, 0x02]), good.subarray(2)])],
    ['the last byte missing', good.subarray(0, -1)],
    ['a byte too many', Buffer.concat([good, Buffer.from([0])])],
    ['JSON', Buffer.from('{"orderId":"x"}')],
  ])('%s is malformed', (_name, bytes) => {
    expect(() => decodeOrderPlaced(bytes)).toThrow(MalformedEventError);
  });

  test('an int of more than 32 bits is malformed', () => {
    // 2^32 + 1 as a varint in the place of generation: cut to 32 bits it would be 1.
    const bytes = Buffer.concat([good.subarray(0, 10), Buffer.from('8280808020', 'hex'), good.subarray(11)]);
    expect(() => decodeOrderPlaced(bytes)).toThrow('generation: expected an int from 1');
  });

  test('a branch that the union does not have is malformed', () => {
    const bytes = encodeOrderPlaced(createEvent({ items: [createItem({ cartLineId: null })] }));
    bytes[bytes.length - 2] = 0x04;
    expect(() => decodeOrderPlaced(bytes)).toThrow(
      `the body does not match schema version ${latestOrderPlaced.version}`,
    );
  });

  test('a schema that nobody knows is told apart, with its fingerprint', () => {
    const bytes = Buffer.from(good);
    bytes.writeBigUInt64LE(0x0123456789abcdefn, 2);
    expect(() => decodeOrderPlaced(bytes)).toThrow(UnknownSchemaError);
    expect(() => decodeOrderPlaced(bytes)).toThrow('0123456789abcdef');
  });

  test('the errors have codes', () => {
    expect(new MalformedEventError('').code).toBe('MALFORMED_EVENT');
    expect(new UnknownSchemaError(0n).code).toBe('UNKNOWN_SCHEMA');
  });
});
