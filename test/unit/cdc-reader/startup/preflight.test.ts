// What stands between the reader and an orders database, by facts alone: every problem is found, and all at once.
import { describe, expect, it } from 'vitest';
import type { CaptureFingerprint, TableFingerprint } from '#schemas/capture-fingerprint.ts';
import type { TableVisibility } from '../../../../cdc-reader/postgres/capture.ts';
import {
  findPreflightProblems,
  findPreflightWarnings,
  type PreflightFacts,
} from '../../../../cdc-reader/startup/preflight.ts';
import { matchesSynchronousStandby } from '../../../../cdc-reader/startup/synchronous-standbys.ts';
import { exampleCapture, exampleTable, visibleCapture } from '../../../support/examples/capture.ts';
import { goodFacts, items, orders, published } from '../../../support/examples/preflight-facts.ts';

const names = { publicationName: 'tillstream', applicationName: 'tillstream-cdc-reader' };

function codes(change: Partial<PreflightFacts>): string[] {
  return findPreflightProblems({ ...goodFacts, ...change }, names).map(({ code }) => code);
}

const captured = (change: Partial<CaptureFingerprint>) => ({ capture: visibleCapture(exampleCapture(change)) });
const ordersAs = (change: Partial<TableFingerprint>) =>
  captured({ tables: { ...exampleCapture().tables, orders: exampleTable('orders', change) } });
const itemsVisible = (visible: Partial<TableVisibility>) => ({
  capture: visibleCapture(exampleCapture(), { order_items: visible }),
});
const publication = (change: Partial<NonNullable<PreflightFacts['publication']>>) => ({
  publication: { ...goodFacts.publication!, ...change },
});

describe('preflight', () => {
  it('finds nothing wrong with a database as the migrations make it', () => {
    expect(codes({})).toEqual([]);
  });

  it('allows more tables, more kinds of change, all tables, and Postgres 14, which has no column lists', () => {
    const extra = published('invoices', [{ name: 'id' }]);
    const widened = { updates: true, deletes: true, truncates: true, allTables: true };
    expect(codes(publication({ ...widened, tables: [...goodFacts.publication!.tables, extra] }))).toEqual([]);
    const plain = [published('orders', null), published('order_items', null)];
    expect(codes({ serverVersion: 140_000, ...publication({ tables: plain }) })).toEqual([]);
  });

  it('allows a column list that hides nothing of the contract', () => {
    const narrow = orders.columns.filter(({ name }) => name !== 'status' && name !== 'somebody_elses');
    const tables = [published('orders', narrow), published('order_items', items.columns)];
    expect(codes(publication({ tables }))).toEqual([]);
  });

  it.each<[string, Partial<PreflightFacts>]>([
    ['SERVER_TOO_OLD', { serverVersion: 130_022 }],
    ['WAL_LEVEL', { walLevel: 'replica' }],
    ['IN_RECOVERY', { inRecovery: true }],
    ['NO_REPLICATION_PRIVILEGE', { mayReplicate: false }],
    ['NO_FREE_SLOT', { slots: { used: 10, allowed: 10 } }],
    ['NO_FREE_WAL_SENDER', { walSenders: { used: 10, allowed: 10 } }],
    ['SYNCHRONOUS_STANDBY', { synchronousStandbyNames: 'FIRST 1 (*)' }],
    ['DATABASE_ENCODING', { encoding: { name: 'SQL_ASCII', convertsToUtf8: false } }],
    ['PUBLICATION_MISSING', { publication: null }],
    ['PUBLICATION_WITHOUT_INSERTS', publication({ inserts: false })],
    ['TABLE_NOT_PUBLISHED', publication({ tables: [published('orders', orders.columns)] })],
    [
      'TABLE_NOT_PUBLISHED',
      publication({
        tables: [{ ...published('orders', null), schema: 'other', oid: 7 }, goodFacts.publication!.tables[0]!],
      }),
    ],
    [
      'ROW_FILTER',
      publication({ tables: goodFacts.publication!.tables.map((t, i) => ({ ...t, hasRowFilter: i === 0 })) }),
    ],
    [
      'COLUMN_LIST',
      publication({ tables: [published('orders', orders.columns.slice(1)), goodFacts.publication!.tables[0]!] }),
    ],
    ['TABLE_MISSING', captured({ tables: { ...exampleCapture().tables, orders: null } })],
    ['TABLE_KIND', ordersAs({ kind: 'v' })],
    ['TABLE_KIND', ordersAs({ kind: 'p', children: 2 })],
    ['TABLE_UNLOGGED', ordersAs({ persistence: 'u' })],
    ['TABLE_IS_PARTITION', ordersAs({ isPartition: true })],
    ['TABLE_HAS_CHILDREN', ordersAs({ children: 1, hadChildren: true })],
    ['NO_SELECT_PRIVILEGE', itemsVisible({ maySelect: false })],
    ['ROW_LEVEL_SECURITY', itemsVisible({ isFiltered: true })],
    [
      'NO_SCHEMA_PRIVILEGE',
      { capture: { ...goodFacts.capture, visibility: { ...goodFacts.capture.visibility, mayUseSchema: false } } },
    ],
    ['PUBLICATION_VIA_ROOT', publication({ viaRoot: true, allTables: true })],
    [
      'PUBLICATION_VIA_ROOT',
      publication({ viaRoot: true, tables: [...goodFacts.publication!.tables, published('more', null)] }),
    ],
    ['COLUMN_MISSING', { tables: { ...goodFacts.tables, orders: { ...orders, columns: orders.columns.slice(1) } } }],
    [
      'COLUMN_TYPE',
      {
        tables: {
          ...goodFacts.tables,
          orders: {
            ...orders,
            columns: orders.columns.map((column) =>
              column.name === 'placed_at' ? { ...column, type: 'timestamp without time zone' } : column,
            ),
          },
        },
      },
    ],
  ])('finds %s, and says what to do', (code, change) => {
    const problems = findPreflightProblems({ ...goodFacts, ...change }, names);
    expect(problems.map((one) => one.code)).toEqual([code]);
    expect(problems[0]!.problem).toMatch(/\.$/);
    expect(problems[0]!.remedy).toMatch(/\.$/);
  });

  it('says where to find the rows of a table that is not published, and what the publication lists in its place', () => {
    const swapped = publication({
      tables: [{ ...published('orders_old', null), oid: 7 }, published('order_items', null)],
    });
    const [problem] = findPreflightProblems({ ...goodFacts, ...swapped }, names);
    expect(problem).toMatchObject({ code: 'TABLE_NOT_PUBLISHED' });
    expect(problem!.problem).toContain('it lists public.orders_old, public.order_items.');
  });

  it('takes publishing through the root for harmless where only the two tables are published', () => {
    expect(codes(publication({ viaRoot: true }))).toEqual([]);
  });

  it('takes tables for published whose schema is', () => {
    const { publication: listed } = exampleCapture();
    const bySchema = captured({
      publication: { ...listed!, tables: [], schemas: [{ oid: 1, xmin: '1', of: exampleCapture().schema!.oid }] },
    });
    expect(codes({ ...publication({ tables: [] }), ...bySchema })).toEqual([]);
    const another = captured({ publication: { ...listed!, tables: [], schemas: [{ oid: 1, xmin: '1', of: 5 }] } });
    expect(codes({ ...publication({ tables: [] }), ...another })).toEqual([
      'TABLE_NOT_PUBLISHED',
      'TABLE_NOT_PUBLISHED',
    ]);
  });

  it.each<[string, Partial<PreflightFacts>, number]>([
    ['does not warn of a publication that lists the tables by name', {}, 0],
    ['warns of a publication for all tables', publication({ allTables: true, tables: [] }), 1],
    ['warns of a publication that lists none by name', publication({ tables: [] }), 1],
    ['does not warn where there is no publication: that is a problem', { publication: null }, 0],
  ])('%s', (_, change, count) => {
    const warnings = findPreflightWarnings({ ...goodFacts, ...change }, names);
    expect(warnings).toHaveLength(count);
    for (const warning of warnings) expect(warning).toContain('FOR TABLE public.orders, public.order_items');
  });

  it('does not need a free slot when its own exists', () => {
    expect(codes({ slotExists: true, slots: { used: 10, allowed: 10 } })).toEqual([]);
  });

  it('names all problems at once', () => {
    const everything = codes({
      walLevel: 'minimal',
      mayReplicate: false,
      publication: null,
      ...captured({ tables: { orders: null, order_items: null } }),
      tables: { orders: null, order_items: null },
    });
    expect(everything).toEqual([
      'WAL_LEVEL',
      'NO_REPLICATION_PRIVILEGE',
      'PUBLICATION_MISSING',
      'TABLE_MISSING',
      'TABLE_MISSING',
    ]);
  });
});

describe('synchronous_standby_names', () => {
  it.each([
    '*',
    'reader',
    'READER',
    'a, reader',
    '"reader"',
    '2 (a, reader)',
    'FIRST 1 (reader)',
    'any 1 (a,"Reader")',
    'ANY 1 (*)',
  ])('%j covers the application name reader', (setting) => {
    expect(matchesSynchronousStandby(setting, 'reader')).toBe(true);
  });

  it.each(['', 'a', 'a, b', 'readers', '2 (a, b)', '"a reader"', 'FIRST 1 (my_reader)', 'ANY 1 ("re""ader")'])(
    '%j does not',
    (setting) => {
      expect(matchesSynchronousStandby(setting, 'reader')).toBe(false);
    },
  );

  it('takes the method and the number for no names', () => {
    expect(matchesSynchronousStandby('FIRST 1 (a)', 'first')).toBe(false);
    expect(matchesSynchronousStandby('ANY 2 (a)', '2')).toBe(false);
    expect(matchesSynchronousStandby('2 (a)', '2')).toBe(false);
  });
});
