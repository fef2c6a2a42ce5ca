// Checks the two order tables before an audit compares: its role sees every row, both exist, and whether they are the tables
// that the reader captured. Nothing is written.
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
import { findCapturedTables, inspectOldTables, NO_OLD_TABLES, type OldTablesReport } from '../captured/old-tables.ts';
import { readHeldOrders } from '../sql/order-tables.ts';

/** @throws ConfigurationError if this role may not see every row, or a table is missing */
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
        'database, `npm run migrate` creates it.',
    );
  }
  if (problems.length > 0) throw new ConfigurationError(problems);
  return fingerprint;
}

/** Compares today's tables with those that the checkpoint recorded; null: there is no checkpoint. */
export async function inspectTables(
  recorded: RecordedCapture | null,
  found: CaptureFingerprint,
  source: Pick<SourceSession, 'readTableNames'>,
  orders: Database,
  carts: Database,
): Promise<OldTablesReport> {
  const differences = recorded === null ? [] : compareCapture(recorded, found).differences;
  if (recorded === null || differences.length === 0) return NO_OLD_TABLES;
  const names = await source.readTableNames(findCapturedTables(recorded, found).map(({ oid }) => oid));
  const report = await inspectOldTables(recorded, found, names, { orders: () => orders, carts: () => carts });
  return {
    ...report,
    lines: [
      'What the reader captures has changed since its checkpoint, so it halts:',
      ...differences.map((one) => `  ${one.field}: ${one.expected} -> ${one.found}`),
      ...[...describeMoved(recorded, names), ...report.lines].map((line) => `  ${line}`),
    ],
  };
}

const KINDS: Readonly<Record<string, string>> = { v: 'a view', m: 'a materialized view', f: 'a foreign table' };

/** Views and the like under the contract's names; the audit compares the orders that they show. */
export function describeViews({ tables }: CaptureFingerprint): string[] {
  return contractTableNames.flatMap((table) => {
    const what = KINDS[tables[table]?.kind ?? 'r'];
    if (what === undefined) return [];
    return [
      `${contractSchema}.${table} is ${what}: the audit compares the orders that it shows, but the reader captures ordinary tables only.`,
    ];
  });
}

/** Which of these orders are in an old table. */
export async function readReplacedOrders(
  { oldTables }: OldTablesReport,
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
