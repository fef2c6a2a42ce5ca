// Who the captured tables are, field by field: what is another table or a lost row, what is only worth a warning, and what
// is nothing at all. That Postgres keeps such traces is pinned elsewhere; here they are given.
import { describe, expect, it } from 'vitest';
import {
  type CaptureFingerprint,
  type CatalogueRow,
  compareCapture,
  describeMoved,
  formatVersion1,
  type PublicationFingerprint,
  recordedOids,
  requireCaptured,
  type TableFingerprint,
} from '#schemas/capture-fingerprint.ts';
import type { ContractTable } from '#schemas/contract-tables.ts';
import { exampleCapture, exampleOids, exampleTable } from '../../support/examples/capture.ts';

const recorded = exampleCapture();
const publication = recorded.publication!;
const schema = recorded.schema!;

const withPublication = (change: Partial<PublicationFingerprint>) =>
  exampleCapture({ publication: { ...publication, ...change } });
const withSchema = (change: Partial<CatalogueRow>) => exampleCapture({ schema: { ...schema, ...change } });
const withTable = (table: ContractTable, change: Partial<TableFingerprint>) =>
  exampleCapture({ tables: { ...recorded.tables, [table]: exampleTable(table, change) } });
const orders = (change: Partial<TableFingerprint>) => withTable('orders', change);
const items = (change: Partial<TableFingerprint>) => withTable('order_items', change);
const rowTypeOf = (table: ContractTable, change: Partial<CatalogueRow>) =>
  withTable(table, { rowType: { ...exampleTable(table).rowType, ...change } });
const columnOf = (table: ContractTable, column: string, to: readonly [number, number] | undefined) => {
  const { [column]: _, ...others } = exampleTable(table).columns;
  return withTable(table, { columns: to === undefined ? others : { ...others, [column]: to } });
};
const attnumOf = (table: ContractTable, column: string) => exampleTable(table).columns[column]![0];
const bySchema = (change: Partial<CaptureFingerprint> = {}): CaptureFingerprint => ({
  ...exampleCapture(change),
  publication: { ...publication, tables: [], schemas: [{ oid: 16410, xmin: '760', of: schema.oid }] },
});

type Row = [what: string, before: CaptureFingerprint, after: CaptureFingerprint];

describe('comparing captured tables', () => {
  it.each<[...Row, field: string, subject: string]>([
    ['a dropped publication', recorded, exampleCapture({ publication: null }), 'publication oid', 'publication'],
    ['a recreated publication', recorded, withPublication({ oid: 17000 }), 'publication oid', 'publication'],
    ['an altered publication', recorded, withPublication({ xmin: '900' }), 'publication xmin', 'publication'],
    [
      'a publication without inserts',
      recorded,
      withPublication({ inserts: false }),
      'publication of inserts',
      'publication',
    ],
    [
      'a publication without inserts behind an owner',
      withPublication({ inserts: true }),
      withPublication({ inserts: false, owner: 11, xmin: '910' }),
      'publication of inserts',
      'publication',
    ],
    [
      'a schema renamed and back behind a role that was renamed',
      withSchema({ grants: '11 USAGE' }),
      withSchema({ grants: '11 USAGE', acl: '{renamed=U/renamed}', xmin: '903' }),
      'schema public xmin',
      'table',
    ],
    ['all tables', recorded, withPublication({ allTables: true }), 'publication all tables', 'publication'],
    [
      'a table that left the publication',
      recorded,
      withPublication({ tables: publication.tables.slice(1) }),
      'publication tables',
      'publication',
    ],
    [
      'a table that left the publication and came back',
      recorded,
      withPublication({ tables: publication.tables.map((one, at) => (at === 0 ? { ...one, oid: 17001 } : one)) }),
      'publication tables',
      'publication',
    ],
    [
      'an entry of the publication that was altered',
      recorded,
      withPublication({ tables: publication.tables.map((one) => ({ ...one, xmin: '901' })) }),
      'publication tables',
      'publication',
    ],
    [
      'an entry of the publication that names another table',
      recorded,
      withPublication({ tables: publication.tables.map((one) => ({ ...one, of: one.of + 100 })) }),
      'publication tables',
      'publication',
    ],
    [
      'a schema in the publication',
      recorded,
      withPublication({ schemas: [{ oid: 17002, xmin: '902', of: schema.oid }] }),
      'publication schemas',
      'publication',
    ],
    ['a schema that is gone', recorded, exampleCapture({ schema: null }), 'schema public oid', 'table'],
    ['another schema of the name', recorded, withSchema({ oid: 17003 }), 'schema public oid', 'table'],
    ['a schema renamed and back', recorded, withSchema({ xmin: '903' }), 'schema public xmin', 'table'],
    [
      'a table that is gone',
      recorded,
      exampleCapture({ tables: { ...recorded.tables, orders: null } }),
      'public.orders oid',
      'table',
    ],
    ['another table of the name', recorded, items({ oid: 17004 }), 'public.order_items oid', 'table'],
    ['a view in its place', recorded, orders({ kind: 'v' }), 'public.orders kind', 'table'],
    ['an unlogged table', recorded, items({ persistence: 'u' }), 'public.order_items persistence', 'table'],
    [
      'a table that became a partition',
      recorded,
      orders({ isPartition: true }),
      'public.orders is a partition',
      'table',
    ],
    ['a child', recorded, orders({ children: 1, hadChildren: true }), 'public.orders children', 'children'],
    [
      'a child that came and went',
      recorded,
      items({ hadChildren: true }),
      'public.order_items had children meanwhile',
      'table',
    ],
    [
      'a rule on INSERT',
      recorded,
      orders({ rules: 1, hadRules: true, insertRules: ['17005/904'] }),
      'public.orders rules on INSERT',
      'table',
    ],
    [
      'a rule on INSERT that was made anew',
      orders({ rules: 1, hadRules: true, insertRules: ['17005/904'] }),
      orders({ rules: 1, hadRules: true, insertRules: ['17006/905'] }),
      'public.orders rules on INSERT',
      'table',
    ],
    ['a rule that came and went', recorded, orders({ hadRules: true }), 'public.orders had rules meanwhile', 'table'],
    [
      'a column of the contract that is gone',
      recorded,
      columnOf('orders', 'currency', undefined),
      'public.orders.currency attnum',
      'table',
    ],
    [
      'a column of the contract that another took the name of',
      recorded,
      columnOf('orders', 'currency', [9, 25]),
      'public.orders.currency attnum',
      'table',
    ],
    [
      'a column whose type the reader can not read',
      recorded,
      columnOf('orders', 'placed_at', [attnumOf('orders', 'placed_at'), 1114]),
      'public.orders.placed_at type',
      'table',
    ],
    [
      'a column whose type the reader could not read before',
      columnOf('order_items', 'quantity', [attnumOf('order_items', 'quantity'), 1700]),
      recorded,
      'public.order_items.quantity type',
      'table',
    ],
    [
      'a table renamed and back',
      recorded,
      rowTypeOf('orders', { xmin: '906' }),
      'row type of public.orders xmin',
      'table',
    ],
    ['another row type', recorded, rowTypeOf('order_items', { oid: 1 }), 'row type of public.order_items oid', 'table'],
  ])('finds %s, and nothing else', (_, before, after, field, subject) => {
    const { differences } = compareCapture(before, after);
    expect(differences.map((one) => [one.subject, one.field])).toEqual([[subject, field]]);
    expect(differences[0]!.expected).not.toBe(differences[0]!.found);
  });

  it.each<Row>([
    ['nothing', recorded, exampleCapture()],
    ['a publication of inserts, of a version that did not record it', recorded, withPublication({ inserts: true })],
    ['grants of a version that did not record their roles', recorded, withSchema({ grants: '11 USAGE' })],
    ['a role that was renamed', recorded, withSchema({ acl: '{renamed=U/renamed}' })],
    ['a rewrite of tables that the publication lists by name', recorded, orders({ relfilenode: 5 })],
    [
      'an integer that became a bigint',
      columnOf('orders', 'total_cents', [attnumOf('orders', 'total_cents'), 23]),
      recorded,
    ],
    ['a text that became a varchar', recorded, columnOf('order_items', 'sku', [attnumOf('order_items', 'sku'), 1043])],
    [
      'a column of the contract that was never there',
      columnOf('orders', 'currency', undefined),
      columnOf('orders', 'currency', undefined),
    ],
    ['a column that the recorded contract did not have', columnOf('orders', 'currency', undefined), recorded],
    ['a rule on another event', recorded, orders({ rules: 1, hadRules: true })],
    ['a rule on another event that is gone', orders({ rules: 1, hadRules: true }), orders({ hadRules: true })],
    ['the trace of a rule that VACUUM has cleared', orders({ hadRules: true }), recorded],
    ['the trace of a child that ANALYZE has cleared', orders({ hadChildren: true }), recorded],
    ['the trace of a child that is still there', orders({ hadChildren: true }), orders({ hadChildren: true })],
    ['a column of somebody else', recorded, columnOf('orders', 'note', [12, 3802])],
  ])('takes %s for no change', (_, before, after) => {
    expect(compareCapture(before, after)).toEqual({ differences: [], warnings: [] });
  });

  it.each<[...Row, warned: string]>([
    ['the publication', recorded, withPublication({ owner: 11, xmin: '910' }), 'publication'],
    ['the schema', recorded, withSchema({ owner: 11, xmin: '910' }), 'schema public'],
    ['the schema by its ACL', recorded, withSchema({ acl: null, xmin: '910' }), 'schema public'],
    ['a table', recorded, rowTypeOf('orders', { owner: 11, xmin: '910' }), 'row type of public.orders'],
    [
      'a row type by its ACL',
      recorded,
      rowTypeOf('order_items', { acl: '{}', xmin: '910' }),
      'row type of public.order_items',
    ],
  ])('accepts with a warning another owner or other privileges of %s', (_, before, after, warned) => {
    const { differences, warnings } = compareCapture(before, after);
    expect(differences).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining(`owner or privileges of the ${warned} changed`)]);
  });

  it.each<Row>([
    ['the publication', recorded, withPublication({ owner: 11, oid: 17_000 })],
    ['the schema', recorded, withSchema({ owner: 11, oid: 17_000 })],
    ['a table', recorded, rowTypeOf('orders', { owner: 11, oid: 17_000 })],
  ])('does not take another owner for the reason why %s is another one', (_, before, after) => {
    expect(compareCapture(before, after).differences).toHaveLength(1);
  });

  it('still finds what else changed together with an owner', () => {
    const rowType = { ...exampleTable('orders').rowType, owner: 11, xmin: '911' };
    const { differences, warnings } = compareCapture(recorded, orders({ rowType, persistence: 'u' }));
    expect(differences.map(({ field }) => field)).toEqual(['public.orders persistence']);
    expect(warnings).toHaveLength(1);
  });

  it.each<Row>([
    ['for all tables', allTables(), allTables({ relfilenode: 5 })],
    ['in schema', bySchema(), bySchema({ tables: orders({ relfilenode: 5 }).tables })],
  ])(
    'warns of a table that was rewritten where the publication is %s: it may have been UNLOGGED',
    (_, before, after) => {
      const { differences, warnings } = compareCapture(before, after);
      expect(differences).toEqual([]);
      expect(warnings).toEqual([expect.stringMatching(/^public\.orders was rewritten .*npm run audit/)]);
    },
  );

  it('names every field that differs, so that a halt can tell them all', () => {
    const tables = { orders: exampleTable('orders', { oid: 17_010 }), order_items: null };
    const { differences } = compareCapture(recorded, exampleCapture({ publication: null, tables }));
    expect(differences.map(({ field, expected, found }) => `${field}: ${expected} -> ${found}`)).toEqual([
      'publication oid: 16400 -> none',
      'public.orders oid: 16384 -> 17010',
      'public.order_items oid: 16390 -> none',
    ]);
  });
});

function allTables(change: Partial<TableFingerprint> = {}): CaptureFingerprint {
  return { ...orders(change), publication: { ...publication, allTables: true, tables: [] } };
}

describe('a record of version 1', () => {
  const version1 = {
    version1: 'publication 16400/750; tables 16401/750,16402/750; schemas none',
  };

  it('has the text that the reader of then wrote', () => {
    expect(formatVersion1(publication)).toBe(version1.version1);
    expect(formatVersion1({ ...publication, tables: [], schemas: [{ oid: 7, xmin: '8', of: 9 }] })).toBe(
      'publication 16400/750; tables none; schemas 7/8',
    );
  });

  it('is accepted where the publication is the same and its members are the two tables', () => {
    expect(compareCapture(version1, recorded)).toEqual({ differences: [], warnings: [] });
  });

  it.each<[string, CaptureFingerprint]>([
    ['for all tables', allTables()],
    ['for the schema of the tables', bySchema()],
  ])('is accepted where the publication is %s', (_, found) => {
    expect(compareCapture({ version1: formatVersion1(found.publication!) }, found).differences).toEqual([]);
  });

  it.each<[string, CaptureFingerprint, string[]]>([
    ['was dropped', exampleCapture({ publication: null }), ['publication']],
    ['was altered', withPublication({ xmin: '751' }), ['publication']],
    ['publishes an orders table under another name by now', orders({ oid: 17_000 }), ['table']],
    [
      'publishes a table that is gone',
      exampleCapture({ tables: { ...recorded.tables, order_items: null } }),
      ['table'],
    ],
    ['is for another schema', { ...bySchema(), schema: { ...schema, oid: 5 } }, ['publication', 'table', 'table']],
  ])('is refused where the publication %s', (_, found, subjects) => {
    const { differences } = compareCapture(version1, found);
    expect(differences.map(({ subject }) => subject)).toEqual(subjects);
  });

  it('is refused where everything is published, but a table is missing', () => {
    const found = { ...allTables(), tables: { ...recorded.tables, orders: null } };
    const before = { version1: formatVersion1(found.publication!) };
    expect(compareCapture(before, found).differences).toMatchObject([
      { subject: 'table', field: 'public.orders is what is published', expected: 'true', found: 'false' },
    ]);
  });

  it('knows no OIDs, so nobody can say where its tables are now', () => {
    expect(recordedOids(version1)).toEqual([]);
    expect(describeMoved(version1, new Map())).toEqual([]);
  });
});

describe('where the captured tables are now', () => {
  it('is told of those that are not under their names, by their OIDs', () => {
    const names = new Map([
      [exampleOids.orders, { schema: 'public', name: 'orders_old', kind: 'r' }],
      [exampleOids.order_items, { schema: 'public', name: 'order_items', kind: 'r' }],
    ]);
    expect(describeMoved(recorded, names)).toEqual([
      'The captured public.orders (oid 16384) is now public.orders_old.',
    ]);
    names.set(exampleOids.orders, { schema: 'shop2', name: 'orders', kind: 'r' });
    names.delete(exampleOids.order_items);
    expect(describeMoved(recorded, names)).toEqual([
      'The captured public.orders (oid 16384) is now shop2.orders.',
      'The captured public.order_items (oid 16390) does not exist any more.',
    ]);
  });

  it('needs both OIDs before rows are compared with them', () => {
    const { orders, order_items } = requireCaptured(recorded);
    expect([orders.oid, order_items.oid]).toEqual([exampleOids.orders, exampleOids.order_items]);
    expect(order_items.columns).toEqual(
      ['order_id', 'line_no', 'sku', 'quantity', 'unit_price_cents', 'cart_line_id'].map((name, index) => ({
        name,
        attnum: 21 + index,
      })),
    );
    expect(() => requireCaptured(exampleCapture({ tables: { ...recorded.tables, orders: null } }))).toThrow('missing');
  });
});
