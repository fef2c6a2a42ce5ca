// The captured tables that are no longer under their names, and the orders that only they hold. An order that was committed
// before a swap and not published yet lies under the old oid: neither the stream nor a replay from the tables brings it.
// Guarantees: bounded memory, however large the table; nothing is written. What to do about the orders found is left to
// adopt and the audit.
import { IsolationLevel, type SQLQuery } from '@databases/pg';
import {
  type CaptureFingerprint,
  compareCapture,
  type RecordedCapture,
  recordedOids,
  type TableName,
} from '#schemas/capture-fingerprint.ts';
import { type ContractTable, contractSchema, contractTableNames, contractTables } from '#schemas/contract-tables.ts';
import type { Database } from '#service/database.ts';
import { readUnknownOrders } from '../../cart-sink/apply/preview-replay.ts';
import { openOldOrdersCursor, readHeldOrders, readStandIns } from '../sql/order-tables.ts';
import { beginUnbounded, fetchRows } from '../sql/snapshot.ts';
import { requireReadable } from './unreadable-rows.ts';

/** `now`: the table's present name; null if it does not exist any more. */
export interface OldTable {
  readonly table: ContractTable;
  readonly oid: number;
  readonly now: TableName | null;
  /** Never captured, but it has the columns of the captured table and may have had its name for a while. */
  readonly isStandIn?: true;
}

/** Orders of an old table that neither the ledger nor today's table of its name has; `left` is null if it was dropped. */
export interface LeftOrders {
  readonly old: OldTable;
  readonly left: {
    readonly count: number;
    /** Those not counted for an earlier old table: an order with its items lies in two tables, and counts once. */
    readonly further: number;
    readonly examples: readonly string[];
  } | null;
}

const EXAMPLES = 20;
const FETCH_ROWS = 1_000;

export interface OldTablesReport {
  /** Captured tables that are no longer under their names. */
  readonly oldTables: readonly OldTable[];
  /** What was found in them and in possible stand-ins, for the operator. */
  readonly lines: readonly string[];
  /** Orders left in any of them, each counted once. */
  readonly leftOrders: number;
  /** A captured table was dropped. */
  readonly isGone: boolean;
}

export const NO_OLD_TABLES: OldTablesReport = { oldTables: [], lines: [], leftOrders: 0, isGone: false };

/**
 * Finds the old tables and counts the orders left in them, one table after the other. Connects to the databases only if
 * the tables have changed. `names`: by oid, of the captured tables that exist. @throws ConfigurationError if the role may
 * not read one of them
 */
export async function inspectOldTables(
  recorded: RecordedCapture,
  found: CaptureFingerprint,
  names: ReadonlyMap<number, TableName>,
  databases: { orders(): Database; carts(): Database },
): Promise<OldTablesReport> {
  const { differences } = compareCapture(recorded, found);
  const oldTables = findOldTables(recorded, found, names);
  const isOfTables = oldTables.length > 0 || differences.some(({ subject }) => subject !== 'publication');
  if (!isOfTables) return NO_OLD_TABLES;
  const [orders, carts] = [databases.orders(), databases.carts()];
  const tables = [...oldTables, ...(await findStandIns(orders, found, oldTables))];
  const all: LeftOrders[] = [];
  for (const [index, old] of tables.entries()) {
    all.push(await findLeftIn(old, tables.slice(0, index), found, orders, carts));
  }
  const notable = all.filter(({ old, left }) => !old.isStandIn || left?.count !== 0);
  return {
    oldTables,
    lines: notable.flatMap(formatLeftOrders),
    leftOrders: countLeftOrders(all),
    isGone: all.some(({ left }) => left === null),
  };
}

/** The captured oids; a version 1 checkpoint recorded only those of the publication's members. */
export function findCapturedTables(
  recorded: RecordedCapture,
  found: CaptureFingerprint,
): readonly { readonly table: ContractTable; readonly oid: number }[] {
  if (!('version1' in recorded)) return recordedOids(recorded);
  const today = contractTableNames.map((table) => found.tables[table]?.oid);
  const others = (found.publication?.tables ?? []).filter(({ of }) => !today.includes(of));
  return others.map(({ of }) => ({ table: 'orders', oid: of })); // both tables have a column order_id
}

/** `names`: by oid, of the captured tables that exist. */
export function findOldTables(
  recorded: RecordedCapture,
  found: CaptureFingerprint,
  names: ReadonlyMap<number, TableName>,
): OldTable[] {
  return findCapturedTables(recorded, found)
    .filter(({ table, oid }) => found.tables[table]?.oid !== oid)
    .map(({ table, oid }) => ({ table, oid, now: names.get(oid) ?? null }));
}

/**
 * Tables that may have had the captured tables' names for a while: after a swap and back, the catalogue does not show with
 * which table. @param oldTables those that are known already
 */
async function findStandIns(
  orders: Database,
  found: CaptureFingerprint,
  oldTables: readonly OldTable[],
): Promise<OldTable[]> {
  const today = contractTableNames.flatMap((table) => found.tables[table]?.oid ?? []);
  const known = [...today, ...oldTables.map(({ oid }) => oid)];
  const standIns: OldTable[] = [];
  for (const table of contractTableNames) {
    const rows: (TableName & { oid: bigint })[] = await orders.pool.query(
      readStandIns(Object.keys(contractTables[table]), known),
    );
    for (const { oid, schema, name, kind } of rows) {
      standIns.push({ table, oid: Number(oid), now: { schema, name, kind }, isStandIn: true });
    }
  }
  return standIns;
}

async function findLeftIn(
  old: OldTable,
  before: readonly OldTable[],
  found: CaptureFingerprint,
  orders: Database,
  carts: Database,
): Promise<LeftOrders> {
  const { now } = old;
  if (now === null) return { old, left: null };
  let [count, further] = [0, 0];
  const examples: string[] = [];
  const read = { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true };
  await orders.pool.tx(async (tx) => {
    const ask = (statement: SQLQuery): Promise<string[]> =>
      requireReadable('ORDER_DATABASE_URL', async () => {
        const rows: { order_id: string }[] = await tx.query(statement);
        return rows.map((row) => row.order_id);
      });
    /** Which of these orders, none of them in the ledger, today's table of that name lacks. */
    const selectLeft = async ({ table }: OldTable, ids: readonly string[]): Promise<string[]> => {
      if (found.tables[table] === null || ids.length === 0) return [...ids];
      const held = new Set(await ask(readHeldOrders(contractSchema, table, ids)));
      return ids.filter((id) => !held.has(id));
    };
    await tx.query(beginUnbounded);
    await ask(openOldOrdersCursor(now.schema, now.name));
    for (;;) {
      const ids = await ask(fetchRows('old_orders', FETCH_ROWS));
      if (ids.length === 0) break;
      const left = await selectLeft(old, [...(await readUnknownOrders(carts.pool, ids))]);
      let uncounted = left;
      for (const other of before) {
        if (other.now === null || uncounted.length === 0) continue;
        const there = await ask(readHeldOrders(other.now.schema, other.now.name, uncounted));
        const counted = new Set(await selectLeft(other, there));
        uncounted = uncounted.filter((id) => !counted.has(id));
      }
      count += left.length;
      further += uncounted.length;
      examples.push(...left.slice(0, EXAMPLES - examples.length));
    }
  }, read);
  return { old, left: { count, further, examples } };
}

/** Orders left in any of the old tables, each counted once. */
export function countLeftOrders(all: readonly LeftOrders[]): number {
  return all.reduce((sum, { left }) => sum + (left?.further ?? 0), 0);
}

/** The report lines of one table: its present name, and the orders left in it. */
export function formatLeftOrders({ old, left }: LeftOrders): string[] {
  const name = `the captured ${contractSchema}.${old.table} (oid ${old.oid})`;
  if (left === null) return [`${name} does not exist any more: orders in it that were not published are lost`];
  const now = `${old.now!.schema}.${old.now!.name}`;
  const where = old.isStandIn
    ? `${now} (oid ${old.oid}) has the columns of ${contractSchema}.${old.table}`
    : `${name} is now ${now}`;
  if (left.count === 0) return [`${where}; every order in it is in the ledger or in today's table`];
  const shown = left.examples.length < left.count ? `the first ${left.examples.length}: ` : '';
  return [
    `${where}; ${left.count} orders in it are neither in the ledger nor in today's table`,
    `  ${shown}${left.examples.join(', ')}`,
  ];
}
