// Captured tables that are no longer under their names: which they are, what is said of them, and when adopt goes on.
import { describe, expect, it } from 'vitest';
import { formatVersion1, type TableName } from '#schemas/capture-fingerprint.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { ConfigurationError } from '#service/environment.ts';
import { requireNoOrdersLeft } from '../../../../tools/adopt/reader/left-orders.ts';
import { describeViews } from '../../../../tools/audit/inspect-tables.ts';
import {
  countLeftOrders,
  findOldTables,
  formatLeftOrders,
  type LeftOrders,
} from '../../../../tools/captured/old-tables.ts';
import { explainUnreadable } from '../../../../tools/captured/unreadable-rows.ts';
import { explainMissingWitness, withCapture } from '../../../../tools/replay/sources/pipeline-state.ts';
import { exampleCapture, exampleOids, exampleTable } from '../../../support/examples/capture.ts';

const swapped = exampleCapture({
  tables: {
    orders: exampleTable('orders', { oid: 20_000 }),
    order_items: exampleTable('order_items', { oid: 20_001 }),
  },
});
const name = (text: string): TableName => ({ schema: 'public', name: text, kind: 'r' });
const names = new Map([
  [exampleOids.orders, name('orders_old')],
  [exampleOids.order_items, name('order_items_old')],
]);
const old = { table: 'orders', oid: exampleOids.orders, now: name('orders_old') } as const;
const left = (count: number, further: number): LeftOrders => ({ old, left: { count, further, examples: ['a', 'b'] } });
const gone: LeftOrders = { old: { ...old, now: null }, left: null };

describe('the old tables', () => {
  it('are those whose name another table has, or none, and are none where only an xmin changed', () => {
    expect(findOldTables(exampleCapture(), swapped, names).map(({ now }) => now?.name)).toEqual([
      'orders_old',
      'order_items_old',
    ]);
    const onlyOrders = exampleCapture({
      tables: { orders: null, order_items: exampleTable('order_items') },
    });
    expect(findOldTables(exampleCapture(), onlyOrders, new Map())).toEqual([{ ...old, now: null }]);
    const back = exampleCapture({
      tables: {
        orders: exampleTable('orders', { rowType: { oid: exampleOids.orders + 2, xmin: '999', owner: 10, acl: null } }),
        order_items: exampleTable('order_items'),
      },
    });
    expect(findOldTables(exampleCapture(), back, names)).toEqual([]);
  });

  it('are told with their names of today, the count and the first orders', () => {
    expect(formatLeftOrders(left(2, 2)).join('\n')).toBe(
      'the captured public.orders (oid 16384) is now public.orders_old; 2 orders in it are neither in the ledger nor in ' +
        "today's table\n  a, b",
    );
    expect(formatLeftOrders(left(9, 0)).join('\n')).toContain('the first 2: a, b');
    expect(formatLeftOrders(gone).join('\n')).toContain('does not exist any more');
  });

  it('count an order that lies in both once', () => {
    expect(countLeftOrders([left(5, 5), left(6, 1), gone])).toBe(6);
  });
});

describe('adopt', () => {
  it.each([
    [{ leftOrders: 0, isGone: false }, undefined],
    [{ leftOrders: 5, isGone: false }, 5],
    [{ leftOrders: 0, isGone: true }, 0],
  ])('goes on with %j and --leave-orders %s', (found, given) => {
    expect(() => requireNoOrdersLeft(found, given)).not.toThrow();
  });

  it.each([
    [{ leftOrders: 5, isGone: false }, undefined, '5 orders would be lost'],
    [{ leftOrders: 5, isGone: false }, 4, '5 orders would be lost'],
    [{ leftOrders: 0, isGone: true }, undefined, 'a captured table was dropped'],
    [{ leftOrders: 1, isGone: true }, 0, '1 orders would be lost'],
  ])('refuses %j with --leave-orders %s, and says the remedy in its order', (found, given, words) => {
    expect(() => requireNoOrdersLeft(found, given)).toThrow(words);
    expect(() => requireNoOrdersLeft(found, given)).toThrow(/back under their names.*copy.*adopt.*replay.*audit/);
  });
});

describe('what a command says', () => {
  it('names views under the names of the tables', () => {
    const views = exampleCapture({
      tables: { orders: exampleTable('orders', { kind: 'v' }), order_items: exampleTable('order_items') },
    });
    expect(describeViews(views).join()).toMatch(/^public.orders is a view/);
    expect(describeViews(exampleCapture())).toEqual([]);
  });

  it('of a refused read is the variable and the remedy, and of any other error what it was', () => {
    const refused = Object.assign(new Error('permission denied for table orders'), { code: '42501' });
    const explained = explainUnreadable('ORDER_DATABASE_URL', refused);
    expect(explained).toBeInstanceOf(ConfigurationError);
    expect((explained as Error).message).toMatch(/ORDER_DATABASE_URL.*permission denied.*GRANT SELECT.*BYPASSRLS/);
    const other = Object.assign(new Error('away'), { code: '57P01' });
    expect(explainUnreadable('ORDER_DATABASE_URL', other)).toBe(other);
  });

  it('of a missing last order blames a restore only where the tables are the captured ones', () => {
    expect(explainMissingWitness({ capture: exampleCapture() }, exampleCapture())).toContain('restored');
    const words = explainMissingWitness({ capture: exampleCapture() }, swapped);
    expect(words).toContain('oid 16384');
    expect(words).not.toContain('restored');
  });
});

describe("a checkpoint of an older reader, which knows the publication's rows only", () => {
  const capture = { version1: formatVersion1(exampleCapture().publication!) };
  const checkpoint = { generation: 1, capture } as Checkpoint;

  it('is of the tables of today where those rows are the same and publish them', () => {
    expect(withCapture(checkpoint, exampleCapture()).capture).toEqual(exampleCapture());
  });

  it('stays as it is otherwise, and one that knows its tables always', () => {
    expect(withCapture(checkpoint, swapped)).toBe(checkpoint);
    const known = { ...checkpoint, capture: exampleCapture() };
    expect(withCapture(known, swapped)).toBe(known);
  });
});
