// The tables that the reader captured and that are no longer under their names, and the orders that only they hold. An order
// that was committed before a swap and not published yet lies under the old oid: neither the stream nor a replay from the
// tables brings it. Guarantees: bounded memory, however large the table; nothing is written. What to do about what is left
// is adopt's and the audit's.
import { IsolationLevel, type SQLQuery } from '@databases/pg';
import {
  type CaptureFingerprint,
  type RecordedCapture,
  recordedOids,
  type TableName,
} from '#schemas/capture-fingerprint.ts';
import { type ContractTable, contractSchema, contractTableNames, contractTables } from '#schemas/contract-tables.ts';
import type { Database } from '#service/database.ts';
import { beginUnbounded } from './sql/begin-unbounded.ts';
import { closeOldOrders, fetchOldOrders, openOldOrders } from './sql/open-old-orders.ts';
import { readAppliedOrders } from './sql/read-applied-orders.ts';
import { readHeldOrders } from './sql/read-held-orders.ts';
import { readStandIns } from './sql/read-stand-ins.ts';
import { requireReadable } from './unreadable-rows.ts';

/** `now`: what the table is called now; null when it does not exist any more. */
export interface OldTable {
  readonly table: ContractTable;
  readonly oid: number;
  readonly now: TableName | null;
  /** Never captured: it has the columns of the captured table, and may have stood under its name for a while. */
  readonly isStandIn?: true;
}

/** Orders of an old table that neither the ledger nor today's table of its name has; `left` is null when it is gone. */
export interface LeftOrders {
  readonly old: OldTable;
  readonly left: {
    readonly count: number;
    /** Those that no old table before this one has left too: an order lies in both tables, and counts once. */
    readonly further: number;
    readonly examples: readonly string[];
  } | null;
}

const EXAMPLES = 20;

/** The oids that were captured: those of the publication's members where version 1 of the checkpoint recorded no others. */
export function findCapturedOids(
  recorded: RecordedCapture,
  found: CaptureFingerprint,
): readonly { readonly table: ContractTable; readonly oid: number }[] {
  if (!('version1' in recorded)) return recordedOids(recorded);
  const today = contractTableNames.map((table) => found.tables[table]?.oid);
  const others = (found.publication?.tables ?? []).filter(({ of }) => !today.includes(of));
  return others.map(({ of }) => ({ table: 'orders', oid: of })); // either table has the order's id
}

/** `names`: by oid, of the captured tables that exist. */
export function findOldTables(
  recorded: RecordedCapture,
  found: CaptureFingerprint,
  names: ReadonlyMap<number, TableName>,
): OldTable[] {
  return findCapturedOids(recorded, found)
    .filter(({ table, oid }) => found.tables[table]?.oid !== oid)
    .map(({ table, oid }) => ({ table, oid, now: names.get(oid) ?? null }));
}

/**
 * Tables that may have stood under the captured tables' names for a while: swapped away and back, the catalogue does not
 * say with which. @param oldTables those that are known already
 */
export async function findStandIns(
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

/** One table after the other, in bounded memory. @throws ConfigurationError where the role may not read one of them */
export async function findLeftOrders(
  oldTables: readonly OldTable[],
  found: CaptureFingerprint,
  orders: Database,
  carts: Database,
): Promise<LeftOrders[]> {
  const all: LeftOrders[] = [];
  for (const [index, old] of oldTables.entries()) {
    all.push(await findLeftIn(old, oldTables.slice(0, index), found, orders, carts));
  }
  return all;
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
    const ask = (statement: SQLQuery) =>
      requireReadable('ORDER_DATABASE_URL', async () => idsOf(await tx.query(statement)));
    /** Which of these orders, none of them in the ledger, are left in a table. */
    const selectLeft = async ({ table }: OldTable, ids: readonly string[]): Promise<string[]> => {
      if (found.tables[table] === null || ids.length === 0) return [...ids];
      const held = new Set(await ask(readHeldOrders(contractSchema, table, ids)));
      return ids.filter((id) => !held.has(id));
    };
    await tx.query(beginUnbounded);
    await ask(openOldOrders(now.schema, now.name));
    for (;;) {
      const ids = await ask(fetchOldOrders);
      if (ids.length === 0) break;
      const applied = new Set(idsOf(await carts.pool.query(readAppliedOrders(ids))));
      const left = await selectLeft(
        old,
        ids.filter((id) => !applied.has(id)),
      );
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
    await tx.query(closeOldOrders);
  }, read);
  return { old, left: { count, further, examples } };
}

/** Orders that are left in any of the old tables that exist, each once. */
export function countLeftOrders(all: readonly LeftOrders[]): number {
  return all.reduce((sum, { left }) => sum + (left?.further ?? 0), 0);
}

function idsOf(rows: readonly { order_id: string }[]): string[] {
  return rows.map((row) => row.order_id);
}

/** One table in words, with the orders that are left in it. */
export function formatLeftOrders({ old, left }: LeftOrders): string[] {
  const name = `the captured ${contractSchema}.${old.table} (oid ${old.oid})`;
  if (left === null)
    return [`${name} does not exist any more: what it held and was not published can't be had from it`];
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
