// Which rows of the stream are orders and items: by OID, name, schema and column types of the RELATION that they belong to.
import { describe, expect, it } from 'vitest';
import { classifyRelation } from '../../../../cdc-reader/encode/contract-relation.ts';
import { exampleCaptured } from '../../../support/examples/capture.ts';
import { itemsRelation, ordersRelation, type RelationMessage } from '../../../support/examples/pgoutput-messages.ts';

const width = ordersRelation.columns.length;
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
const classify = (relation: RelationMessage) => classifyRelation(relation, exampleCaptured);
const retyped = (relation: RelationMessage, column: string, typeOid: number): RelationMessage => ({
  ...relation,
  columns: relation.columns.map((one) => (one.name === column ? { ...one, typeOid } : one)),
});
const without = (relation: RelationMessage, column: string): RelationMessage => ({
  ...relation,
  columns: relation.columns.filter(({ name }) => name !== column),
});

const [UUID, TEXT, VARCHAR, BPCHAR, INT2, INT4, INT8, NUMERIC, TIMESTAMP, DOMAIN] = [
  2950, 25, 1043, 1042, 21, 23, 20, 1700, 1114, 16500,
];

describe('a relation', () => {
  it('with OID, name and schema of a captured table holds its rows, wherever its columns are', () => {
    expect(classify(ordersRelation)).toMatchObject({ kind: 'orders', columns: width, at: [0, 1, ...range(3, width)] });
    expect(classify(itemsRelation)).toMatchObject({ kind: 'items', columns: 6, at: [0, 1, 2, 3, 4, 5] });
    const wider = {
      ...ordersRelation,
      columns: [{ name: 'note', typeOid: 3802, isKey: false }, ...ordersRelation.columns],
    };
    expect(classify(wider)).toMatchObject({ kind: 'orders', columns: width + 1, at: [1, 2, ...range(4, width + 1)] });
    expect(classify(without(ordersRelation, 'status'))).toMatchObject({ kind: 'orders', columns: width - 1 });
  });

  it('whose columns come in another order than they were captured has had names swapped: it is refused', () => {
    const [first, lineNo, sku, quantity, ...rest] = itemsRelation.columns;
    const swapped = { ...itemsRelation, columns: [first!, quantity!, sku!, lineNo!, ...rest] };
    expect(classify(swapped)).toEqual({
      kind: 'refused',
      what: expect.stringMatching(
        /columns in the order order_id, quantity, sku, line_no, .* captured as order_id, line_no/,
      ),
    });
  });

  it('whose column stands behind its place has its name from a column there: it is refused', () => {
    // user_id and status of the catalogue, their names swapped: among the contract's columns the order is the same.
    const captured = {
      ...exampleCaptured,
      orders: { ...exampleCaptured.orders, columns: [...exampleCaptured.orders.columns] },
    };
    captured.orders.columns = captured.orders.columns.map(({ name }, index) => ({
      name,
      attnum: index < 2 ? index + 1 : index + 2,
    }));
    const names = ['order_id', 'status', 'user_id', 'source', 'currency', 'total_cents', 'placed_at'];
    const known = new Map(ordersRelation.columns.map((one) => [one.name, one]));
    const relation = { ...ordersRelation, columns: names.map((name) => known.get(name)!) };
    expect(classifyRelation(relation, captured)).toEqual({
      kind: 'refused',
      what: 'a row of public.orders whose user_id is another column',
    });
    const right = {
      ...relation,
      columns: names
        .with(1, 'user_id')
        .with(2, 'status')
        .map((name) => known.get(name)!),
    };
    expect(classifyRelation(right, captured)).toMatchObject({ kind: 'orders' });
  });

  it.each<[string, RelationMessage]>([
    ['another name', { ...ordersRelation, relationOid: 9, name: 'audit' }],
    ['the name in another schema', { ...ordersRelation, relationOid: 9, schema: 'shop2' }],
    ['the name in another case', { ...ordersRelation, relationOid: 9, name: 'Orders' }],
    ['no column at all', { ...ordersRelation, relationOid: 9, name: 'empty', columns: [] }],
  ])('with %s and an OID of its own is another table', (_, relation) => {
    expect(classify(relation)).toBe('other');
  });

  it.each<[string, RelationMessage, RegExp]>([
    [
      'the name of a captured table, but another OID',
      { ...ordersRelation, relationOid: 9 },
      /public\.orders \(oid 9\), but the captured table of that name has oid 16384$/,
    ],
    [
      'the OID of a captured table, but another name',
      { ...ordersRelation, name: 'orders_old' },
      /public\.orders_old \(oid 16384\), which is the captured table public\.orders under another name$/,
    ],
    [
      'the OID of a captured table, but another schema',
      { ...itemsRelation, schema: 'archive' },
      /archive\.order_items \(oid 16390\), which is the captured table public\.order_items under another name$/,
    ],
    [
      'the OID of one captured table, and the name of the other',
      { ...ordersRelation, name: 'order_items' },
      /which is the captured table public\.orders under another name$/,
    ],
    [
      'a missing column',
      without(itemsRelation, 'cart_line_id'),
      /public\.order_items without the column cart_line_id$/,
    ],
    [
      'a renamed column',
      {
        ...ordersRelation,
        columns: ordersRelation.columns.map((one) => (one.name === 'source' ? { ...one, name: 'origin' } : one)),
      },
      /without the column source$/,
    ],
    [
      'a timestamp without time zone',
      retyped(ordersRelation, 'placed_at', TIMESTAMP!),
      /column placed_at was not timestamp with time zone$/,
    ],
    [
      'a number of another kind',
      retyped(itemsRelation, 'quantity', NUMERIC!),
      /quantity was not bigint or integer or smallint$/,
    ],
    ['a text in place of a uuid', retyped(ordersRelation, 'order_id', TEXT!), /order_id was not uuid$/],
    [
      'a text with blanks behind it',
      retyped(ordersRelation, 'source', BPCHAR!),
      /source was not text or character varying$/,
    ],
    ['a domain', retyped(ordersRelation, 'user_id', DOMAIN!), /user_id was not text or character varying$/],
  ])('with %s is refused, and says why', (_, relation, what) => {
    expect(classify(relation)).toEqual({ kind: 'refused', what: expect.stringMatching(what) });
  });

  it.each<[table: string, column: string, types: readonly number[]]>([
    ['orders', 'user_id', [TEXT!, VARCHAR!]],
    ['orders', 'currency', [TEXT!, VARCHAR!, BPCHAR!]],
    ['orders', 'total_cents', [INT2!, INT4!, INT8!]],
    ['order_items', 'line_no', [INT2!, INT4!, INT8!]],
    ['order_items', 'cart_line_id', [UUID!, TEXT!, VARCHAR!]],
  ])('of %s may have in %s any type whose text means the same', (table, column, types) => {
    const relation = table === 'orders' ? ordersRelation : itemsRelation;
    for (const type of types) expect(classify(retyped(relation, column, type))).toHaveProperty('at');
  });
});
