// Rows to events: byte for byte what avsc writes for the same order, or a refusal that names the column.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { recordBytes } from '#kafka/protocol/record.ts';
import { decodeOrderPlaced, parseOrderPlaced } from '#schemas/codec.ts';
import { type ContractRow, type ContractTable, contractTables } from '#schemas/contract-tables.ts';
import { toLsn } from '#schemas/lsn.ts';
import { findProblem } from '#schemas/order-placed.ts';
import { orderPartition } from '#schemas/partition.ts';
import { plainRelation } from '../../../../cdc-reader/encode/contract-relation.ts';
import { type EventContext, encodeEvent } from '../../../../cdc-reader/encode/encode-event.ts';
import { groupByOrder, RowBuffer } from '../../../../cdc-reader/encode/row-buffer.ts';
import { formatTuple } from '../../../../cdc-reader/encode/tuple.ts';
import { RowNotPublishableError } from '../../../../cdc-reader/encode/unpublishable-errors.ts';
import { encodeOrderPlaced } from '../../../support/examples/encode-order-placed.ts';
import { thorough } from '../../../support/thorough.ts';

const context: EventContext = {
  topic: 'orders.placed',
  partitions: 6,
  generation: 2,
  timeline: 3,
  commitLsn: toLsn(77n),
  committedAt: 99n,
};
/** A row of NULLs, for columns that the case does not name. */
const nullRow = <T extends ContractTable>(table: T) =>
  Object.fromEntries(Object.keys(contractTables[table]).map((column) => [column, null])) as ContractRow<T>;
const order = {
  ...nullRow('orders'),
  order_id: '0190f5fe-0000-7000-8000-000000000001',
  user_id: 'ada',
  source: 'cart',
  currency: 'USD',
  total_cents: '9007199254740993',
  placed_at: '2026-11-20 10:00:00.123456+00',
};
const item = (lineNo: string) => ({
  ...nullRow('order_items'),
  order_id: order.order_id,
  line_no: lineNo,
  sku: 'tea',
  quantity: '2',
  unit_price_cents: '450',
  cart_line_id: null as string | null,
});
type Item = ReturnType<typeof item>;

function encode(orderRow: typeof order, items: readonly Item[], ordinal = 0, shared = context) {
  const rows = new RowBuffer();
  rows.add(plainRelation('orders'), formatTuple(Object.values(orderRow)));
  for (const one of items) rows.add(plainRelation('order_items'), formatTuple(Object.values(one)));
  const [group] = groupByOrder(rows);
  return encodeEvent(shared, ordinal, rows, group!);
}

/** The same by way of objects and avsc. */
function encodeByAvsc(orderRow: typeof order, items: readonly Item[], ordinal: number, placedAt: bigint): Buffer {
  const { generation, timeline, commitLsn, committedAt = placedAt } = context;
  return encodeOrderPlaced({
    ...{ generation, timeline, commitLsn, committedAt, ordinal, placedAt },
    orderId: orderRow.order_id,
    userId: orderRow.user_id,
    source: orderRow.source,
    currency: orderRow.currency,
    totalCents: BigInt(orderRow.total_cents),
    items: items
      .map((one) => ({
        lineNo: Number(one.line_no),
        sku: one.sku,
        quantity: Number(one.quantity),
        unitPriceCents: BigInt(one.unit_price_cents),
        cartLineId: one.cart_line_id,
      }))
      .toSorted((a, b) => a.lineNo - b.lineNo),
  });
}

const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 80 }), fc.string({ unit: 'binary', maxLength: 300 }));
const wellFormed = text.filter((one) => one.isWellFormed() && !one.includes('\0') && one !== '');
const identifier = fc.stringMatching(/^[A-Za-z0-9._:-]{1,64}$/);
const long = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String);
const int = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map(String);
const placedMs = fc.integer({ min: Date.UTC(1000, 0, 1), max: Date.UTC(9999, 11, 31) });

describe('encoding an event', () => {
  it('gives the bytes that avsc gives, for any values', () => {
    const orderRows = fc.record({ user_id: identifier, source: wellFormed, currency: wellFormed, total_cents: long });
    const itemRow = fc.record({
      line_no: int,
      sku: identifier,
      quantity: fc.integer({ min: 1, max: 1_000_000 }).map(String),
      unit_price_cents: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }).map(String),
      cart_line_id: fc.option(fc.uuid()),
    });
    const itemRows = fc.uniqueArray(itemRow, { minLength: 1, maxLength: 12, selector: ({ line_no }) => line_no });
    fc.assert(
      fc.property(orderRows, itemRows, placedMs, fc.nat(2 ** 31 - 1), (values, items, ms, ordinal) => {
        const placed_at = new Date(ms).toISOString().replace('T', ' ').replace('Z', '789+00');
        const orderRow = { ...order, ...values, placed_at };
        const rows = items.map((one) => ({ ...item('1'), ...one }));
        const record = encode(orderRow, rows, ordinal);
        const expected = encodeByAvsc(orderRow, rows, ordinal, BigInt(ms) * 1000n + 789n);
        expect(record.value.equals(expected)).toBe(true);
        const partition = orderPartition(values.user_id, 6);
        expect(record).toMatchObject({ key: values.user_id, partition, orderId: order.order_id, ordinal });
      }),
    );
  });

  it('refuses exactly what the sink would park', () => {
    const odd = fc.oneof(wellFormed, identifier, fc.constantFrom('', 'a'.repeat(65), 'ada\n', 'größe'));
    const uuid = fc.oneof(
      fc.uuid(),
      fc.uuid().map((id) => id.toUpperCase()),
      odd,
      fc.constant(`${'0'.repeat(36)}`),
    );
    const orderRows = fc.record({ user_id: odd, source: odd, currency: odd, total_cents: long });
    const itemRow = fc.record({
      line_no: fc.integer({ min: 1, max: 4 }).map(String),
      sku: odd,
      quantity: fc.oneof(fc.integer({ min: -1, max: 2 }), fc.integer({ min: 999_999, max: 1_000_001 })).map(String),
      unit_price_cents: fc.integer({ min: -1, max: 1 }).map(String),
      cart_line_id: fc.option(uuid),
    });
    // Mostly right, so that every single fault comes alone too.
    const right = { sku: 'tea', quantity: '1', unit_price_cents: '0', cart_line_id: null };
    const itemRows = fc.array(fc.record({ values: itemRow, keep: fc.subarray(Object.keys(right)) }), {
      minLength: 1,
      maxLength: 3,
    });
    const kept = fc.subarray(['user_id', 'source', 'currency']);
    let [refused, published] = [0, 0];
    fc.assert(
      fc.property(orderRows, kept, itemRows, (values, keep, items) => {
        const orderRow = {
          ...order,
          ...values,
          ...Object.fromEntries(keep.map((name) => [name, order[name as 'source']])),
        };
        const rows = items.map(({ values: one, keep: names }) => ({
          ...item('1'),
          ...one,
          ...Object.fromEntries(names.map((name) => [name, right[name as keyof typeof right]])),
        }));
        const isParked = findProblem(parseOrderPlaced(encodeByAvsc(orderRow, rows, 0, 0n))) !== undefined;
        if (isParked) {
          refused += 1;
          expect(() => encode(orderRow, rows)).toThrow(RowNotPublishableError);
        } else {
          published += 1;
          expect(findProblem(decodeOrderPlaced(encode(orderRow, rows).value))).toBeUndefined();
        }
      }),
      { numRuns: thorough(2_000) },
    );
    expect(Math.min(refused, published)).toBeGreaterThan(10);
  });

  it('gives orders of a snapshot, which has no time of commit, that of the order', () => {
    const { value } = encode(order, [item('1')], 0, { ...context, committedAt: undefined });
    const placedAt = BigInt(Date.UTC(2026, 10, 20, 10)) * 1000n + 123_456n;
    const { committedAt: _, ...rest } = context;
    const again = encode(order, [item('1')], 0, { ...rest, committedAt: placedAt });
    expect(value.equals(again.value)).toBe(true);
  });

  it('never writes into an event that it has given out', () => {
    const first = encode(order, [item('1')]);
    const bytes = Buffer.from(first.value);
    for (let n = 0; n < 3_000; n++) encode({ ...order, user_id: `user-${n}` }, [item('1'), item('2')]);
    expect(first.value.equals(bytes)).toBe(true);
  });

  describe('takes the trace context of the order as a header, and leaves the event as it is,', () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const contract = plainRelation('orders');
    const relation = { ...contract, columns: contract.columns + 1, traceparent: contract.columns };
    const encodeWith = (value: string | null) => {
      const rows = new RowBuffer();
      rows.add(plainRelation('order_items'), formatTuple(Object.values(item('1'))));
      rows.add(relation, formatTuple([...Object.values(order), value]));
      return encodeEvent(context, 0, rows, groupByOrder(rows)[0]!);
    };
    const plain = encode(order, [item('1')]);

    it('within the bound of bytes', () => {
      const record = encodeWith(traceparent);
      expect(record.headers).toEqual({ traceparent });
      expect(record.value.equals(plain.value)).toBe(true);
      const { topic, partition, key, value, headers } = record;
      expect(record.maxBytes).toBe(recordBytes({ topic, partition, key, value, headers }));
    });

    it.each([null, '', 'x', `${traceparent}-more`, 'é'.repeat(55), traceparent.replace('00-', 'ff-'), 'x'.repeat(1e6)])(
      'and counts anything else as none (%#)',
      (value) => {
        const record = encodeWith(value);
        expect(record.headers).toBeUndefined();
        expect(record.maxBytes).toBe(plain.maxBytes);
        expect(record.value.equals(plain.value)).toBe(true);
      },
    );
  });

  it('takes an order that is larger than its pieces of memory', () => {
    const items = Array.from({ length: 20_000 }, (_, n) => item(String(20_000 - n)));
    expect(encode(order, items).value.equals(encodeByAvsc(order, items, 0, 1_795_168_800_123_456n))).toBe(true);
  });

  it.each<[Partial<typeof order>, Partial<Item>, string]>([
    [{ total_cents: '1.5' }, {}, 'orders.total_cents'],
    [{ placed_at: 'infinity' }, {}, 'orders.placed_at'],
    [{ user_id: null as never }, {}, 'orders.user_id'],
    [{ order_id: null as never }, { order_id: null as never }, 'orders.order_id'],
    [{}, { quantity: '' }, 'order_items.quantity'],
    [{}, { quantity: '2147483648' }, 'order_items.quantity'],
    [{}, { unit_price_cents: 'x' }, 'order_items.unit_price_cents'],
    [{}, { unit_price_cents: '9223372036854775808' }, 'order_items.unit_price_cents'],
    [{}, { line_no: 'one' }, 'order_items.line_no'],
    [{}, { line_no: '-2147483649' }, 'order_items.line_no'],
    [{}, { sku: null as never }, 'order_items.sku'],
  ])('halts for %j %j and names the column', (badOrder, badItem, column) => {
    expect(() => encode({ ...order, ...badOrder }, [{ ...item('1'), ...badItem }])).toThrow(
      expect.objectContaining({ code: 'ROW_NOT_PUBLISHABLE', details: { column } }),
    );
  });

  it('refuses text that is not UTF-8 rather than replacing it', () => {
    for (const length of [3, 200]) {
      const rows = new RowBuffer();
      const tuple = formatTuple(Object.values({ ...order, source: `é${'x'.repeat(length)}` }));
      tuple[tuple.indexOf(0xc3) + 1] = 0xff;
      rows.add(plainRelation('orders'), tuple);
      rows.add(plainRelation('order_items'), formatTuple(Object.values(item('1'))));
      const [group] = groupByOrder(rows);
      expect(() => encodeEvent(context, 0, rows, group!)).toThrow(expect.objectContaining({ code: 'PGOUTPUT_FORMAT' }));
    }
  });
});
