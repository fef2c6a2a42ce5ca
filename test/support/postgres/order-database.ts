// The orders database as a writer other than order-api sees it: migrated, with statements that insert whatever a test
// says, and a look at what was stored.

import { randomUUIDv7 } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { createLogger } from '#service/logger.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { migrateOrders, type OrdersMigration } from '../../../order-api/migrate-orders.ts';
import { databaseUrl, withServer } from '../stack/environment.ts';

/** An empty database on the run's Postgres, for tests that need no Kafka. */
export async function createOrderDatabase(label: string): Promise<{ url: string; drop(): Promise<void> }> {
  const { orderServerUrl } = inject('servers');
  const name = `${label}_${randomUUIDv7().slice(-12)}`;
  await withServer(orderServerUrl, (client) => client.query(`CREATE DATABASE ${name}`));
  return {
    url: databaseUrl(orderServerUrl, name),
    drop: async () => {
      await withServer(orderServerUrl, (client) => client.query(`DROP DATABASE ${name} WITH (FORCE)`));
    },
  };
}

/** Migrates the database, publication included, as order-api does when it starts. */
export function migrateTestOrders(databaseUrl: string, publicationName = 'tillstream'): Promise<OrdersMigration> {
  return migrateOrders({ postgres: serverOf(databaseUrl), publicationName, logger: createLogger('test', 'silent') });
}

/** A connection of its own, to be ended by the test. */
export async function connectTo(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

/** Inserts an order by the contract's columns; `change` replaces some of them. Returns its id. */
export async function insertOrderRow(client: pg.Client, change: Record<string, unknown> = {}): Promise<string> {
  const row = { order_id: randomUUIDv7(), user_id: 'ada', total_cents: 499, ...change };
  await insertRow(client, 'orders', row);
  return row.order_id;
}

/** Inserts one item of an order; `change` replaces columns. */
export async function insertItemRow(client: pg.Client, orderId: string, change: Record<string, unknown> = {}) {
  const row = { order_id: orderId, line_no: 1, sku: 'tea', quantity: 1, unit_price_cents: 499, ...change };
  await insertRow(client, 'order_items', row);
}

/** Inserts an order with one item in a transaction of its own. Returns its id. */
export async function insertWholeOrder(client: pg.Client, change: Record<string, unknown> = {}): Promise<string> {
  return inTransaction(client, async () => {
    const orderId = await insertOrderRow(client, change);
    await insertItemRow(client, orderId);
    return orderId;
  });
}

/** Runs `use` between BEGIN and COMMIT, or ROLLBACK when it throws. */
export async function inTransaction<T>(client: pg.Client, use: () => Promise<T>): Promise<T> {
  await client.query('BEGIN');
  try {
    const result = await use();
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

/** Rows in both tables. */
export async function countRows(client: pg.Client): Promise<{ orders: number; items: number }> {
  const { rows } = await client.query(
    'SELECT (SELECT count(*)::int FROM orders) AS orders, (SELECT count(*)::int FROM order_items) AS items',
  );
  return rows[0] as { orders: number; items: number };
}

async function insertRow(client: pg.Client, table: string, row: Record<string, unknown>): Promise<void> {
  const names = Object.keys(row);
  const places = names.map((_, index) => `$${index + 1}`);
  await client.query(`INSERT INTO ${table} (${names.join(', ')}) VALUES (${places.join(', ')})`, Object.values(row));
}
