// What an audit has to know of the two order tables before it compares: that its role sees every row, that there is something
// to read under their names, and whether they are the tables that the reader captured. Nothing is written.
import {
  type CaptureFingerprint,
  compareCapture,
  describeMoved,
  type RecordedCapture,
} from '#schemas/capture-fingerprint.ts';
import { contractSchema, contractTableNames } from '#schemas/contract-tables.ts';
import type { Database } from '#service/database.ts';
import { ConfigurationError } from '#service/environment.ts';
import { findVisibilityProblems } from '../../cdc-reader/postgres/capture.ts';
import type { SourceSession } from '../../cdc-reader/postgres/source-session.ts';
import {
  countLeftOrders,
  findCapturedOids,
  findLeftOrders,
  findOldTables,
  findStandIns,
  formatLeftOrders,
  type OldTable,
} from '../captured/old-tables.ts';
import { readHeldOrders } from '../captured/sql/read-held-orders.ts';

export interface TablesReport {
  /** Captured tables that are not under their names any more. */
  readonly oldTables: readonly OldTable[];
  /** How the tables differ from what the reader captured, and which orders are left in old ones; empty when they don't. */
  readonly lines: readonly string[];
  /** Orders that only old tables hold and the ledger lacks. */
  readonly leftOrders: number;
}

/** @throws ConfigurationError where this role may not see every row, or a table is missing */
export async function requireReadableTables(
  source: Pick<SourceSession, 'readCapture' | 'roleName'>,
  publicationName: string,
): Promise<CaptureFingerprint> {
  const { fingerprint, visibility } = await source.readCapture(publicationName);
  const problems = findVisibilityProblems(visibility, source.roleName).map((one) => `${one.problem} ${one.remedy}`);
  for (const table of contractTableNames) {
    if (fingerprint.tables[table] !== null) continue;
    problems.push(
      `ORDER_DATABASE_URL: there is no table ${contractSchema}.${table}. If it was renamed or moved, put it back; in a new ` +
        'database, `npm run migrate` makes it.',
    );
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return fingerprint;
}

/** Compares the tables of today with those that the checkpoint recorded. */
export async function inspectTables(
  recorded: RecordedCapture,
  found: CaptureFingerprint,
  source: Pick<SourceSession, 'readTableNames'>,
  orders: Database,
  carts: Database,
): Promise<TablesReport> {
  const differences = compareCapture(recorded, found).differences;
  if (differences.length === 0) return { oldTables: [], lines: [], leftOrders: 0 };
  const names = await source.readTableNames(findCapturedOids(recorded, found).map(({ oid }) => oid));
  const oldTables = findOldTables(recorded, found, names);
  const lines = [
    'What the reader captured has changed since its checkpoint (it halts for that):',
    ...differences.map((one) => `  ${one.field}: ${one.expected} -> ${one.found}`),
    ...describeMoved(recorded, names).map((sentence) => `  ${sentence}`),
  ];
  const isOfTables = differences.some(({ subject }) => subject !== 'publication');
  const standIns = isOfTables ? await findStandIns(orders, found, oldTables) : [];
  const left = await findLeftOrders([...oldTables, ...standIns], found, orders, carts);
  const worthSaying = left.filter((one) => !one.old.isStandIn || one.left?.count !== 0);
  lines.push(...worthSaying.flatMap(formatLeftOrders).map((line) => `  ${line}`));
  return { oldTables, lines, leftOrders: countLeftOrders(left) };
}

const KINDS: Readonly<Record<string, string>> = { v: 'a view', m: 'a materialized view', f: 'a foreign table' };

/** What stands under the names of the contract and is no table: the comparison shows what it shows. */
export function describeStandIns({ tables }: CaptureFingerprint): string[] {
  return contractTableNames.flatMap((table) => {
    const what = KINDS[tables[table]?.kind ?? 'r'];
    if (what === undefined) return [];
    return [
      `${contractSchema}.${table} is ${what}: orders are compared as it shows them, and the reader captures ordinary tables only.`,
    ];
  });
}

/** Which of these orders an old table has. */
export async function readReplacedOrders(
  { oldTables }: TablesReport,
  orders: Database,
  orderIds: readonly string[],
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const { now } of oldTables) {
    if (now === null) continue;
    const rows: { order_id: string }[] = await orders.pool.query(readHeldOrders(now.schema, now.name, orderIds));
    for (const row of rows) found.add(row.order_id);
  }
  return found;
}
