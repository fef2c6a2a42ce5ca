// Makers of orders for tests and the benchmark, each a way in which real writers commit: one transaction an order in
// bulk or at a pace, many orders in one transaction by INSERT or COPY, sessions that commit side by side, savepoints
// that are rolled back. Orders are numbered (order-load-sql.ts); callers give ranges that don't overlap. Nothing here
// waits for the pipeline.

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import {
  copyItemLines,
  copyOrderLines,
  defaultShape,
  fillCartLines,
  installProcedures,
  multiRowInserts,
  type OrderShape,
} from './order-load-sql.ts';

export type { OrderShape };

export interface OrderLoadOptions {
  readonly ordersUrl: string;
  /** Default {@link defaultShape}. */
  readonly shape?: OrderShape;
}

/** Which orders: `count` of them from number `first` on. */
export interface OrderRange {
  readonly first: number;
  readonly count: number;
}

/** An order placed by {@link OrderLoad.place}, with the client's clock at the end of its COMMIT. */
interface PlacedOrder {
  readonly orderId: string;
  readonly committedAtMs: number;
}

export interface OrderLoad {
  /** One transaction an order, made inside the server: tens of thousands a second. */
  backlog(range: OrderRange): Promise<void>;
  /** All in one transaction of two multi-row INSERTs. */
  insertTogether(range: OrderRange): Promise<void>;
  /** All in one transaction of two COPYs. */
  copyTogether(range: OrderRange): Promise<void>;
  /** One order an open session, then all sessions COMMIT at once: their commit records lie side by side in the WAL. */
  commitSideBySide(range: OrderRange): Promise<readonly string[]>;
  /**
   * One transaction: an order, a savepoint with an order that is rolled back, a nested and released savepoint with an
   * order. Takes three numbers from `first`; returns the ids by fate.
   */
  insertWithSavepoints(first: number): Promise<{ kept: readonly string[]; rolledBack: readonly string[] }>;
  /** One order in a transaction of its own. */
  place(number: number): Promise<PlacedOrder>;
  /** One transaction an order at `ordersPerSecond`, however long each takes (an open loop); throws if one fails. */
  pace(range: OrderRange & { readonly ordersPerSecond: number }): Promise<readonly PlacedOrder[]>;
  close(): Promise<void>;
}

const paceConnections = 8;
const ignore = () => undefined;

/** Connects to a migrated orders database and installs what the loads need there (schema `order_load`). */
export async function createOrderLoad({ ordersUrl, shape = defaultShape }: OrderLoadOptions): Promise<OrderLoad> {
  const pool = new pg.Pool({ connectionString: ordersUrl, max: paceConnections, application_name: 'order-load' });
  // A server that a test stops takes idle connections with it; the next use of the pool says so.
  pool.on('error', ignore);
  await pool.query(installProcedures(shape));

  const inTransaction = async (use: (client: pg.PoolClient) => Promise<void>): Promise<void> => {
    const client = await pool.connect();
    // A server that goes away fails the query in flight; without a listener it would also end the process.
    client.on('error', ignore);
    try {
      await client.query('BEGIN');
      await use(client);
      await client.query('COMMIT');
    } catch (error) {
      client.release(true);
      throw error;
    }
    client.off('error', ignore);
    client.release();
  };

  const placeOn = async (client: pg.ClientBase | pg.Pool, number: number): Promise<string> => {
    const statement = { name: 'place', text: 'SELECT order_load.place($1) AS id', values: [number] };
    return (await client.query<{ id: string }>(statement)).rows[0]!.id;
  };
  const place = async (number: number): Promise<PlacedOrder> => {
    const orderId = await placeOn(pool, number);
    return { orderId, committedAtMs: performance.timeOrigin + performance.now() };
  };

  return {
    async backlog({ first, count }) {
      await pool.query('CALL order_load.backlog($1, $2)', [count, first]);
    },
    insertTogether: ({ first, count }) =>
      inTransaction(async (client) => {
        const statements = multiRowInserts(shape);
        await client.query(statements.orders, [first, count]);
        await client.query(statements.items, [first, count]);
      }),
    copyTogether: ({ first, count }) =>
      inTransaction(async (client) => {
        const copy = async (target: string, linesSql: string) => {
          const { rows } = await client.query<{ line: string }>(linesSql, [first, count]);
          const stream = client.query(copyFrom(`COPY ${target} FROM STDIN`));
          await pipeline(Readable.from(rows.map(({ line }) => `${line}\n`)), stream);
        };
        await copy('orders (order_id, user_id, total_cents)', copyOrderLines(shape));
        const columns = 'order_id, line_no, sku, quantity, unit_price_cents, cart_line_id';
        await copy(`order_items (${columns})`, copyItemLines(shape));
      }),
    async commitSideBySide({ first, count }) {
      const clients = Array.from({ length: count }, () => new pg.Client({ connectionString: ordersUrl }));
      for (const client of clients) client.on('error', ignore);
      try {
        await Promise.all(clients.map((client) => client.connect()));
        const ids = await Promise.all(
          clients.map(async (client, index) => {
            await client.query('BEGIN');
            return placeOn(client, first + index);
          }),
        );
        await Promise.all(clients.map((client) => client.query('COMMIT')));
        return ids;
      } finally {
        await Promise.all(clients.map((client) => client.end()));
      }
    },
    async insertWithSavepoints(first) {
      const [kept, rolledBack]: [string[], string[]] = [[], []];
      await inTransaction(async (client) => {
        kept.push(await placeOn(client, first));
        await client.query('SAVEPOINT undone');
        rolledBack.push(await placeOn(client, first + 1));
        await client.query('ROLLBACK TO undone');
        await client.query('SAVEPOINT outer_one');
        await client.query('SAVEPOINT inner_one');
        kept.push(await placeOn(client, first + 2));
        await client.query('RELEASE inner_one');
        await client.query('RELEASE outer_one');
      });
      return { kept, rolledBack };
    },
    place,
    async pace({ first, count, ordersPerSecond }) {
      const startMs = performance.now();
      const placed: Promise<PlacedOrder>[] = [];
      let failure: unknown;
      for (let index = 0; index < count && failure === undefined; index += 1) {
        const waitMs = startMs + (index * 1_000) / ordersPerSecond - performance.now();
        if (waitMs > 1) await delay(waitMs);
        const one = place(first + index);
        one.catch((error) => {
          failure ??= error;
        });
        placed.push(one);
      }
      return Promise.all(placed);
    },
    close: () => pool.end(),
  };
}

/** Puts into the carts what the orders of `range` will take out of them, and a little more. */
export async function fillCarts(options: OrderRange & { cartsUrl: string; shape?: OrderShape }): Promise<void> {
  const client = new pg.Client({ connectionString: options.cartsUrl, application_name: 'order-load' });
  await client.connect();
  try {
    await client.query(fillCartLines(options.shape ?? defaultShape), [options.first, options.count]);
  } finally {
    await client.end();
  }
}
