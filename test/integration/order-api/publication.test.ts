// The publication that order-api creates with its migrations: once, whoever starts at the same time, and never altered,
// because rows inserted around an alteration are lost without an error (I1, I11).

import type pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectTo, createOrderDatabase, migrateTestOrders } from '../../support/postgres/order-database.ts';

let database: Awaited<ReturnType<typeof createOrderDatabase>>;
let client: pg.Client;
let url: string;

beforeEach(async () => {
  database = await createOrderDatabase('order_publication');
  url = database.url;
  client = await connectTo(url);
});
afterEach(async () => {
  await client.end();
  await database.drop();
});

/** The catalogue rows of all publications; any alteration shows in an oid or xmin. */
async function readCatalogue() {
  const { rows } = await client.query(
    `SELECT pubname, publication.oid, publication.xmin, pubinsert, pubupdate, pubdelete, pubtruncate, puballtables,
       (SELECT array_agg(prrelid::regclass::text || '/' || entry.oid || '/' || entry.xmin ORDER BY prrelid::regclass::text)
        FROM pg_publication_rel AS entry WHERE prpubid = publication.oid) AS tables
     FROM pg_publication AS publication`,
  );
  return rows;
}

describe('the migration of the orders database', () => {
  it('publishes the inserts into both tables, whose replica identity stays the default', async () => {
    expect(await migrateTestOrders(url)).toEqual({
      applied: ['0001_orders', '0002_order_rules', '0003_pinned_functions', '0004_traceparent'],
      publicationCreated: true,
    });
    const [publication, ...others] = await readCatalogue();
    expect(others).toEqual([]);
    expect(publication).toMatchObject({
      pubname: 'tillstream',
      pubinsert: true,
      pubupdate: false,
      pubdelete: false,
      pubtruncate: false,
      puballtables: false,
      tables: [expect.stringMatching(/^order_items\//), expect.stringMatching(/^orders\//)],
    });
    const { rows } = await client.query(
      `SELECT relreplident FROM pg_class WHERE oid IN ('orders'::regclass, 'order_items'::regclass)`,
    );
    expect(rows).toEqual([{ relreplident: 'd' }, { relreplident: 'd' }]);
  });

  it('is done once by four services that start at the same time, and changes nothing when done again', async () => {
    const results = await Promise.all([1, 2, 3, 4].map(() => migrateTestOrders(url)));
    expect(results.filter(({ applied }) => applied.length > 0)).toHaveLength(1);
    expect(results.filter(({ publicationCreated }) => publicationCreated)).toHaveLength(1);
    const catalogue = await readCatalogue();
    expect(await migrateTestOrders(url)).toEqual({ applied: [], publicationCreated: false });
    expect(await readCatalogue()).toEqual(catalogue);
  });

  it('creates a second publication for a second name and leaves the first alone', async () => {
    await migrateTestOrders(url);
    const [first] = await readCatalogue();
    expect(await migrateTestOrders(url, 'second')).toMatchObject({ publicationCreated: true });
    expect(await readCatalogue()).toEqual([first, expect.objectContaining({ pubname: 'second' })]);
  });
});

describe('a publication that exists already', () => {
  it.each([
    ['publishes more kinds of change', 'FOR TABLE orders, order_items'],
    ['publishes more tables', `FOR TABLE orders, order_items, extra WITH (publish = 'insert')`],
    ['publishes all tables', 'FOR ALL TABLES'],
    ['publishes a schema', 'FOR TABLES IN SCHEMA public'],
    [
      'names every column',
      `FOR TABLE orders (order_id, user_id, status, source, currency, total_cents, idempotency_key, placed_at,
       placed_xid), order_items`,
    ],
  ])('is taken as it is when it %s, generated columns aside', async (_what, definition) => {
    await migrateTestOrders(url, 'other');
    await client.query('CREATE TABLE extra (id int)');
    await client.query(
      'ALTER TABLE order_items ADD total bigint GENERATED ALWAYS AS (quantity * unit_price_cents) STORED',
    );
    await client.query(`CREATE PUBLICATION tillstream ${definition}`);
    const catalogue = await readCatalogue();
    expect(await migrateTestOrders(url)).toEqual({ applied: [], publicationCreated: false });
    expect(await readCatalogue()).toEqual(catalogue);
  });

  it.each([
    ['lacks a table', 'FOR TABLE orders', 'public.order_items'],
    ['has no table', '', 'public.orders, all rows and columns of public.order_items'],
    ['filters rows', `FOR TABLE orders WHERE (user_id <> 'bob'), order_items`, 'public.orders.'],
    ['leaves out columns', 'FOR TABLE orders, order_items (order_id, line_no, sku)', 'public.order_items.'],
    ['does not publish inserts', `FOR TABLE orders, order_items WITH (publish = 'update')`, 'inserts.'],
  ])('is refused with the repair, and not altered, when it %s', async (_what, definition, lacks) => {
    await migrateTestOrders(url, 'other');
    await client.query(`CREATE PUBLICATION tillstream ${definition}`);
    const catalogue = await readCatalogue();
    const error = await migrateTestOrders(url).then(
      () => undefined,
      (reason: Error) => reason,
    );
    expect(error).toMatchObject({ code: 'UNFIT_PUBLICATION' });
    expect(error?.message).toContain(lacks);
    expect(error?.message).toContain('Set PUBLICATION_NAME');
    expect(error?.message).toContain('DROP PUBLICATION "tillstream"');
    expect(await readCatalogue()).toEqual(catalogue);
  });
});
