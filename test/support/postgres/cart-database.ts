// A carts database of a test's own, migrated, with its pool and a client that looks at it from outside. What batches and
// the cart API do to it is left to the tests.

import pg from 'pg';
import { EMPTY_TALLY, type ReplayStamp } from '#schemas/replay/records.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { type AppliedCounts, applyTogether } from '../../../cart-sink/apply/apply-batch.ts';
import type { Batch, BatchEntry } from '../../../cart-sink/apply/batch.ts';
import { takeOwnership } from '../../../cart-sink/apply/ownership.ts';
import { migrateCarts } from '../../../cart-sink/migrate-carts.ts';
import { CURRENT_RULE, type Rule } from '../../../cart-sink/rule/reduce-cart.ts';
import type { OrderPlaced } from '../../../schemas/order-placed.ts';
import { createDatabase, type Database } from '../../../service/database.ts';
import { createLogger } from '../../../service/logger.ts';
import { createStamp, tallyEvents } from '../examples/sink-events.ts';
import { createTestEnvironment } from '../stack/environment.ts';

export const silent = createLogger('test', 'silent');

export interface CartDatabase {
  readonly url: string;
  readonly database: Database;
  /** Another pool, for example through a proxy; closed with the rest. */
  connect(url?: string): Database;
  query<T extends pg.QueryResultRow = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<T[]>;
  /** Puts a line into a cart and returns its id. */
  addLine(userId: string, sku: string, quantity: number): Promise<string>;
  /** Every line as `user sku quantity`, sorted. */
  readLines(): Promise<string[]>;
  /** Takes a partition over; batches made with the result start where it stands. */
  own(topic: string, partition?: number): Promise<OwnedPartition>;
  cleanUp(): Promise<void>;
}

export interface OwnedPartition {
  /** A batch that begins where the last one made here ends. Of another topic than `live`, it is of a run of repair. */
  batch(
    events: readonly (OrderPlaced | DistributiveOmit<Exclude<BatchEntry, { kind: 'order' }>, 'offset'>)[],
    replay?: ReplayStamp,
  ): Batch;
}

type DistributiveOmit<T, K extends keyof T> = T extends T ? Omit<T, K> : never;

/** A batch in a transaction of its own. */
export async function applyBatch(
  database: Database,
  batch: Batch,
  rule: Rule = CURRENT_RULE,
): Promise<({ readonly kind: 'applied' } & AppliedCounts) | { readonly kind: 'stale-owner' }> {
  const result = await applyTogether(database, [batch], rule);
  return result.kind === 'applied' ? { kind: 'applied', ...result.counts[0]! } : { kind: 'stale-owner' };
}

export const TEST_GROUP = 'cart-sink';

export async function createCartDatabase(label: string): Promise<CartDatabase> {
  const environment = await createTestEnvironment(label);
  const url = environment.env.CART_DATABASE_URL;
  await migrateCarts({ postgres: serverOf(url), logger: silent });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const pools: Database[] = [];
  const connect = (poolUrl = url) => {
    const database = createDatabase({
      postgres: serverOf(poolUrl),
      applicationName: 'test',
      poolSize: 10,
      statementTimeoutMs: 10_000,
      lockTimeoutMs: 10_000,
      idleInTransactionTimeoutMs: 10_000,
      connectTimeoutMs: 3_000,
      acquireTimeoutMs: 3_000,
      logger: silent,
    });
    pools.push(database);
    return database;
  };
  const database = connect();
  const query: CartDatabase['query'] = async <T extends pg.QueryResultRow>(text: string, values?: readonly unknown[]) =>
    (await client.query<T>(text, values === undefined ? undefined : [...values])).rows;
  return {
    url,
    database,
    connect,
    query,
    async addLine(userId, sku, quantity) {
      const [line] = await query<{ line_id: string }>(
        'INSERT INTO cart_lines (line_id, user_id, sku, quantity) VALUES (gen_random_uuid(), $1, $2, $3) RETURNING line_id',
        [userId, sku, quantity],
      );
      return line!.line_id;
    },
    async readLines() {
      const lines = await query<{ line: string }>(
        "SELECT concat_ws(' ', user_id, sku, quantity) AS line FROM cart_lines ORDER BY user_id, sku",
      );
      return lines.map(({ line }) => line);
    },
    async own(topic, partition = 0) {
      const [owned] = await takeOwnership(database.pool, TEST_GROUP, [{ topic, partition }]);
      let expectedOffset = owned!.nextOffset;
      return {
        batch(events, replay = createStamp()) {
          const start = expectedOffset;
          expectedOffset += BigInt(events.length);
          const entries = events.map((event, index): BatchEntry => {
            const offset = start + BigInt(index);
            return 'kind' in event ? { ...event, offset } : { kind: 'order', offset, event };
          });
          return {
            consumerGroup: TEST_GROUP,
            topic,
            partition,
            ownerEpoch: owned!.ownerEpoch,
            expectedOffset: start,
            nextOffset: expectedOffset,
            entries,
            replay: topic === 'live' ? null : replay,
            tally:
              topic === 'live'
                ? EMPTY_TALLY
                : tallyEvents(entries.flatMap((entry) => (entry.kind === 'order' ? [entry.event] : []))),
            bytes: 0,
          };
        },
      };
    },
    async cleanUp() {
      await Promise.all(pools.map((pool) => pool.close()));
      await client.end();
      await environment.cleanUp();
    },
  };
}
