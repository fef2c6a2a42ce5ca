// All orders that one snapshot sees: the one that the slot's creation exported (then these are exactly the orders which
// the stream will not deliver), or one of its own, taken by the first read. Guarantees: bounded memory, however many
// orders; values in the very text that the stream gives (ISO dates in UTC, numbers with all digits, char(n) padded), so
// that one builder makes the events of both.
import databases, { DataTypeID, IsolationLevel, type SQLQuery, type Transaction } from '@databases/pg';
import type { ContractRow } from '#schemas/contract-tables.ts';
import { preparePooledSession } from '#service/database.ts';
import { type DatabaseServer, poolOptions } from '#service/postgres/database-server.ts';
import { fetchOrders, openOrdersCursor, readItemsOfOrders } from './sql/orders.ts';
import { readerSettings, setSnapshot } from './sql/session.ts';

/** The contract's columns of one order, and of its items by `line_no`. */
export interface SnapshotOrder {
  readonly order: ContractRow<'orders'>;
  readonly items: readonly ContractRow<'order_items'>[];
}

const asItCame = (text: string): string => text;

/** The types of contract columns that pg would turn into something else than their text. */
const textTypes = {
  [DataTypeID.int2]: asItCame,
  [DataTypeID.int4]: asItCame,
  [DataTypeID.int8]: asItCame,
  [DataTypeID.timestamptz]: asItCame,
};

/**
 * Reads all orders of the snapshot by `placed_at` and `order_id`, in batches of at most `batchSize` orders. Without
 * `snapshotName`, what had committed when the first batch was read.
 */
export async function* readSnapshotOrders(options: {
  postgres: DatabaseServer;
  applicationName: string;
  snapshotName?: string;
  batchSize: number;
  /** Which orders of a batch are wanted: the items of the others are not read, and a batch may have none. */
  select?: (orders: readonly ContractRow<'orders'>[]) => Promise<readonly ContractRow<'orders'>[]>;
  /** Called once the snapshot is taken, with a way to query what else it sees. */
  onSnapshot?: (query: (statement: SQLQuery) => Promise<Record<string, unknown>[]>) => Promise<void>;
}): AsyncGenerator<readonly SnapshotOrder[], void, undefined> {
  const connection = options.postgres;
  const pool = databases.default({
    ...poolOptions(connection),
    applicationName: options.applicationName,
    bigIntMode: 'string',
    types: textTypes,
    poolSize: 1,
    keepAlive: true,
  });
  const done = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<Transaction>();
  const holdTransaction = async (): Promise<void> => {
    // Before the transaction: importing a snapshot must come before any query in it. The pool has one connection.
    await preparePooledSession(pool, readerSettings(0), connection);
    await pool.tx(
      async (tx) => {
        begun.resolve(tx);
        await done.promise;
      },
      { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
    );
  };
  const transaction = holdTransaction();
  transaction.catch(begun.reject);
  try {
    const tx = await begun.promise;
    if (options.snapshotName !== undefined) await tx.query(setSnapshot(options.snapshotName));
    await options.onSnapshot?.((statement) => tx.query(statement));
    await tx.query(openOrdersCursor);
    for (;;) {
      const orders: ContractRow<'orders'>[] = await tx.query(fetchOrders(options.batchSize));
      if (orders.length === 0) return;
      yield await addItems(tx, (await options.select?.(orders)) ?? orders);
    }
  } finally {
    done.resolve();
    // The query that failed has reported a transaction that broke.
    await transaction.catch(() => undefined);
    await pool.dispose();
  }
}

async function addItems(tx: Transaction, orders: readonly ContractRow<'orders'>[]): Promise<SnapshotOrder[]> {
  if (orders.length === 0) return [];
  const itemsOf = new Map<string, ContractRow<'order_items'>[]>(orders.map((order) => [order.order_id!, []]));
  const items: ContractRow<'order_items'>[] = await tx.query(readItemsOfOrders([...itemsOf.keys()]));
  for (const item of items) itemsOf.get(item.order_id!)!.push(item);
  return orders.map((order) => ({ order, items: itemsOf.get(order.order_id!)! }));
}
