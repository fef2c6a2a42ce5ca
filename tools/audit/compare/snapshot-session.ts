// One snapshot of a database, read by cursors in one read-only transaction. Guarantees: the audit sees no half-done work
// however long it takes, and holds a few thousand rows at most; nothing is written; no time limit of the server ends it. An
// open snapshot holds back vacuum.
import { IsolationLevel, type SQLQuery, type Transaction } from '@databases/pg';
import type { Database } from '#service/database.ts';
import { openLedgerCursor, openRemovalsCursor } from '../../sql/cart-effects.ts';
import { openItemsCursor, openOrdersCursor } from '../../sql/order-tables.ts';
import { beginUnbounded, fetchRows } from '../../sql/snapshot.ts';
import { groupByOrderId } from './merge-join.ts';
import type { AppliedOrder, PlacedOrder } from './order-facts.ts';

const FETCH_ROWS = 1_000;

// biome-ignore lint/suspicious/noExplicitAny: rows have the statement's columns.
type Rows = any[];

export interface SnapshotSession {
  query(statement: SQLQuery): Promise<Rows>;
  close(): Promise<void>;
}

/** Takes the snapshot now, before any other statement. */
export async function openSnapshot({ pool }: Database): Promise<SnapshotSession> {
  const done = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<Transaction>();
  const ended = pool.tx(
    async (tx) => {
      await tx.query(beginUnbounded);
      begun.resolve(tx);
      await done.promise;
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  );
  ended.catch(begun.reject);
  const tx = await begun.promise;
  return {
    query: (statement) => tx.query(statement),
    async close() {
      done.resolve();
      // A broken transaction has already failed a query.
      await ended.catch(() => undefined);
    },
  };
}

/** All orders of the snapshot with their items, by id. Once a session. */
export async function* readPlacedOrders(session: SnapshotSession): AsyncGenerator<PlacedOrder, void, undefined> {
  await session.query(openOrdersCursor);
  await session.query(openItemsCursor);
  for await (const { orderId, parent, children } of groupByOrderId(
    readCursor(session, 'orders'),
    readCursor(session, 'items'),
  )) {
    if (parent === null) continue; // items without an order can't be published, and the tables refuse them
    const items = children.map((row) => ({
      lineNo: Number(row.line_no), // any integer type may stand in the table
      sku: row.sku,
      quantity: Number(row.quantity),
    }));
    yield { orderId, userId: parent.user_id, source: parent.source, items };
  }
}

/** All orders of the ledger, and whatever removals there are, by id. Once a session. */
export async function* readAppliedOrders(session: SnapshotSession): AsyncGenerator<AppliedOrder, void, undefined> {
  await session.query(openLedgerCursor);
  await session.query(openRemovalsCursor);
  for await (const { orderId, parent, children } of groupByOrderId(
    readCursor(session, 'ledger'),
    readCursor(session, 'removals'),
  )) {
    const removals = children.map(({ line_no, entry, sku, ordered, removed }) => {
      return { lineNo: line_no, entry, sku, ordered, removed };
    });
    const ledger = parent && { userId: parent.user_id, source: parent.source, ruleVersion: parent.rule_version };
    yield { orderId, ledger, removals };
  }
}

async function* readCursor(
  session: SnapshotSession,
  cursor: 'orders' | 'items' | 'ledger' | 'removals',
): AsyncGenerator<Rows[number], void, undefined> {
  for (;;) {
    const rows = await session.query(fetchRows(cursor, FETCH_ROWS));
    for (const row of rows) yield { ...row, orderId: row.order_id };
    if (rows.length < FETCH_ROWS) return;
  }
}
