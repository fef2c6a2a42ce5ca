// An orders Postgres, a carts Postgres and a Kafka that belong to one run alone, below a folder that is removed at the end:
// for what measures them or breaks them, outside vitest. The orders database is migrated; which Kafka it is, and what stands
// before the servers, is the caller's.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createLogger } from '#service/logger.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { migrateCarts } from '../../../cart-sink/migrate-carts.ts';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { removePostgresData } from '../../../dev/servers/postgres-data.ts';
import { migrateOrders } from '../../../order-api/migrate-orders.ts';
import { createTestRoot, testRootVariable } from '../process/test-directory.ts';

export interface OwnServers<Kafka> {
  readonly root: string;
  readonly orders: LocalPostgres;
  readonly carts: LocalPostgres;
  readonly kafka: Kafka;
  /** Of the database `orders`, as a superuser. */
  readonly ordersUrl: string;
  /** Each makes and migrates a database; returns its URL. */
  createOrders(name: string): Promise<string>;
  createCarts(name: string): Promise<string>;
  close(): Promise<void>;
}

/** Starts all three; takes everything down again when that fails. `settings`: of both Postgres. */
export async function startOwnServers<Kafka extends { close(): Promise<unknown> }>(options: {
  settings: Record<string, string>;
  publicationName: string;
  startKafka: (directory: string) => Promise<Kafka>;
  onNotice: (message: string) => void;
}): Promise<OwnServers<Kafka>> {
  const { settings, publicationName, startKafka, onNotice } = options;
  const root = createTestRoot();
  process.env[testRootVariable] = root;
  const closing: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (const one of closing.toReversed()) await one();
    for (const name of ['orders', 'carts']) removePostgresData(join(root, name));
    rmSync(root, { recursive: true, force: true });
  };
  const startPostgres = async (name: string): Promise<LocalPostgres> => {
    const postgres = await createLocalPostgres({ directory: join(root, name), settings, onNotice });
    closing.push(() => postgres.close());
    await postgres.start();
    return postgres;
  };
  const logger = createLogger('own-servers', 'warn');
  try {
    const [orders, carts] = [await startPostgres('orders'), await startPostgres('carts')];
    const kafka = await startKafka(join(root, 'kafka'));
    closing.push(() => kafka.close());
    const createOrders = async (name: string): Promise<string> => {
      await orders.createDatabase(name);
      await migrateOrders({ postgres: serverOf(orders.url(name)), publicationName, logger });
      return orders.url(name);
    };
    return {
      root,
      orders,
      carts,
      kafka,
      ordersUrl: await createOrders('orders'),
      createOrders,
      async createCarts(name) {
        await carts.createDatabase(name);
        await migrateCarts({ postgres: serverOf(carts.url(name)), logger });
        return carts.url(name);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
