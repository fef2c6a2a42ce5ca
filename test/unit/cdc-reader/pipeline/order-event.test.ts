// Rows to events, digit by digit; and the index that finds an order's ordinal in a huge transaction.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ContractRow, type ContractTable, contractTables } from '#schemas/contract-tables.ts';
import { toLsn } from '#schemas/lsn.ts';
import { buildOrderPlaced, parseTimestampMicros } from '../../../../cdc-reader/pipeline/order-event.ts';
import { OrderIndex } from '../../../../cdc-reader/pipeline/order-index.ts';

const context = { generation: 2, timeline: 3, commitLsn: toLsn(77n), committedAt: 99n };
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
  cart_line_id: null,
});

describe('building an event', () => {
  it('keeps every digit and puts items in order of their line number', () => {
    const event = buildOrderPlaced(context, 5, order, [item('10'), item('9')]);
    expect(event).toMatchObject({ ...context, ordinal: 5, totalCents: 9007199254740993n });
    expect(event.items.map(({ lineNo }) => lineNo)).toEqual([9, 10]);
  });

  it.each([
    ['2026-11-20 10:00:00+00', BigInt(Date.UTC(2026, 10, 20, 10)) * 1_000n],
    ['2026-11-20 10:00:00.1+00', BigInt(Date.UTC(2026, 10, 20, 10)) * 1_000n + 100_000n],
    ['2026-11-20 10:00:00.000001+00', BigInt(Date.UTC(2026, 10, 20, 10)) * 1_000n + 1n],
    ['1969-12-31 23:59:59.999999+00', -1n],
    ['10000-01-01 00:00:00+00', BigInt(Date.UTC(10000, 0, 1)) * 1_000n],
  ])('reads the timestamp %s to the microsecond', (text, micros) => {
    expect(parseTimestampMicros(text)).toBe(micros);
  });

  it.each(['infinity', '-infinity', '0044-03-15 12:00:00+00 BC', '2026-11-20 10:00:00+02', ''])(
    'halts for the timestamp %j and names the column',
    (text) => {
      expect(() => parseTimestampMicros(text)).toThrow(
        expect.objectContaining({ code: 'ROW_NOT_PUBLISHABLE', details: { column: 'orders.placed_at' } }),
      );
    },
  );

  it.each([
    [{ ...order, total_cents: '1.5' }, item('1'), 'orders.total_cents'],
    [order, { ...item('1'), quantity: '' }, 'order_items.quantity'],
    [order, { ...item('1'), unit_price_cents: 'x' }, 'order_items.unit_price_cents'],
    [order, item('one'), 'order_items.line_no'],
  ])('halts for a number that is none and names the column', (badOrder, badItem, column) => {
    expect(() => buildOrderPlaced(context, 0, badOrder, [badItem])).toThrow(
      expect.objectContaining({ code: 'ROW_NOT_PUBLISHABLE', details: { column } }),
    );
  });
});

describe('the order index', () => {
  it('gives ordinals as a Map would, through growth, in any case of letters', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.uuid(), { maxLength: 9_000, size: 'max' }), fc.uuid(), (ids, stranger) => {
        const index = new OrderIndex();
        for (const [ordinal, id] of ids.entries()) expect(index.add(id)).toBe(ordinal);
        for (const [ordinal, id] of ids.entries()) {
          if (index.find(id.toUpperCase()) !== ordinal || index.add(id) !== ordinal) throw new Error(`lost ${id}`);
        }
        expect(index.size).toBe(ids.length);
        expect(index.find(stranger)).toBe(ids.indexOf(stranger));
      }),
      { numRuns: 10 },
    );
  });

  it('finds ids that differ in one word only', () => {
    const index = new OrderIndex();
    const ids = ['1', '2', '3'].flatMap((digit) => [
      `0000000${digit}-0000-0000-0000-000000000000`,
      `00000000-000${digit}-0000-0000-000000000000`,
      `00000000-0000-0000-000${digit}-000000000000`,
      `00000000-0000-0000-0000-00000000000${digit}`,
    ]);
    for (const id of ids) index.add(id);
    expect(ids.map((id) => index.find(id))).toEqual(ids.map((_, ordinal) => ordinal));
  });
});
