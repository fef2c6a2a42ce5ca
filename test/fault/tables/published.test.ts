// Publications that do not list the two tables by name, tables that can't be captured at all, and changes in the midst of a
// first start: what is another table's is counted, what only looks like a captured table is refused, what can't be told
// from loss is warned of (I1, I11).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listTopics } from '../../support/kafka/admin.ts';
import type { Service } from '../../support/process/service-process.ts';
import {
  type CaptureStage,
  createCaptureStage,
  requireNothingBehind,
  requireTablesChanged,
  requireUndisturbed,
  resumePaused,
  waitForProblems,
} from '../../support/stack/capture-stage.ts';
import { readPublished } from '../../support/stack/require-halted.ts';
import { waitPaused } from '../../support/stack/start-services.ts';
import { type CaptureChange, captureChanges } from '../../support/stack/table-changes.ts';
import { waitFor } from '../../support/wait.ts';

const slow = { deadlineMs: 30_000 };
const wide = [['FOR ALL TABLES'], ['FOR TABLES IN SCHEMA public']] as const;
const change = (name: string): CaptureChange => captureChanges.find((one) => one.name === name)!;
const SWAP = change('both tables are swapped for new ones by LIKE');
const SCHEMA = change('the schema is renamed, and a new one has new tables');
const VIEWS = change('both tables are renamed, with views of the old names over them');

describe('a publication that does not list the tables', () => {
  let stage: CaptureStage;
  beforeEach(async () => {
    stage = await createCaptureStage('tables_published');
  });
  afterEach(() => stage.cleanUp());

  const publishSome = async (): Promise<Service> => {
    const reader = await stage.startStreaming();
    await stage.load.insertTogether({ first: 0, count: 20 });
    await stage.requireClean();
    return reader;
  };
  const ignored = async (reader: Service) =>
    (await reader.metrics()).get('tillstream_reader_ignored_changes_total{reason="other_table"}');

  it('publishes orders of another schema, which are counted and neither published nor a halt', async () => {
    await stage.createPublication('FOR ALL TABLES');
    await stage.sql('CREATE SCHEMA shop2; CREATE TABLE shop2.orders (LIKE orders INCLUDING ALL)');
    const reader = await publishSome();
    expect(reader.logs.some(({ event }) => event === 'reader.capture-changed')).toBe(true);
    await stage.sql(`CREATE TABLE shop2.order_items (LIKE order_items INCLUDING ALL);
      INSERT INTO shop2.orders (order_id, user_id, total_cents) SELECT gen_random_uuid(), 'u', 1 FROM generate_series(1, 7);
      INSERT INTO shop2.order_items (order_id, line_no, sku, quantity, unit_price_cents)
      SELECT order_id, 1, 's', 1, 1 FROM shop2.orders`);
    await stage.load.backlog({ first: 100, count: 5 });
    await stage.requireClean();
    expect(await ignored(reader)).toBe(14);
    requireUndisturbed(reader);
    await reader.stop();
    await stage.sql("INSERT INTO shop2.orders (order_id, user_id, total_cents) VALUES (gen_random_uuid(), 'u', 1)");
    const again = await stage.startStreaming();
    await stage.load.backlog({ first: 200, count: 5 });
    await stage.requireClean();
    requireUndisturbed(again);
  });

  it.each(wide.flatMap(([what]) => [SWAP, VIEWS].map((one) => [what, one.name, one] as const)))(
    '(%s) has the reader halt while it runs when %s',
    async (what, _, one) => {
      await stage.createPublication(what);
      const reader = await publishSome();
      const changedLsn = await stage.walEnd();
      await stage.run([`${one.there.join(';')}; SELECT order_load.place(1000)`]);
      const endLsn = await stage.walEnd();
      await stage.load.backlog({ first: 100, count: 5 });
      await requireTablesChanged(reader, one.says);
      expect(await requireNothingBehind(stage, changedLsn, endLsn)).toBe(20);
    },
  );

  it.each(wide.flatMap(([what]) => [SWAP, VIEWS].map((one) => [what, one.name, one] as const)))(
    '(%s) has the reader halt at its start when it has come and gone that %s',
    async (what, _, one) => {
      await stage.createPublication(what);
      await (await publishSome()).stop();
      const changedLsn = await stage.walEnd();
      await stage.run([...one.there, 'SELECT order_load.place(1000)', ...one.back!]);
      const endLsn = await stage.walEnd();
      await stage.load.backlog({ first: 100, count: 5 });
      await requireTablesChanged(await stage.startReader(), one.says);
      expect(await requireNothingBehind(stage, changedLsn, endLsn)).toBe(20);
    },
  );

  // The xmin of a row type that changed together with its owner proves nothing; the rows in the stream still do.
  it.each([
    ['FOR ALL TABLES', SWAP, /the captured table of that name has oid/],
    ['FOR ALL TABLES', VIEWS, /under another name/],
    ['FOR TABLE orders, order_items', VIEWS, /under another name/],
  ] as const)(
    '(%s) has the reader refuse the rows of a change and back that new owners hide',
    async (what, one, says) => {
      await stage.createPublication(what);
      const owner = await stage.createRole();
      await (await publishSome()).stop();
      const changedLsn = await stage.walEnd();
      await stage.run([
        ...one.there,
        'SELECT order_load.place(1000)',
        ...one.back!,
        `ALTER TABLE orders OWNER TO ${owner.name}; ALTER TABLE order_items OWNER TO ${owner.name}`,
      ]);
      const endLsn = await stage.walEnd();
      await stage.load.backlog({ first: 100, count: 5 });
      for (let start = 0; start < 2; start++) {
        const reader = await stage.startReader();
        await requireTablesChanged(reader, says);
        expect(await requireNothingBehind(stage, changedLsn, endLsn)).toBe(20);
        await reader.stop();
      }
    },
  );

  it.each(wide)('(%s) has the reader halt while it runs when a table is unlogged', async (what) => {
    await stage.createPublication(what);
    const reader = await publishSome();
    const changedLsn = await stage.walEnd();
    await stage.sql('ALTER TABLE order_items SET UNLOGGED');
    const endLsn = await stage.walEnd();
    await requireTablesChanged(reader, /persistence/);
    expect(await requireNothingBehind(stage, changedLsn, endLsn)).toBe(20);
  });

  it.each(wide)(
    '(%s) has a start warn of a table that may have been unlogged, and the command is named',
    async (what) => {
      await stage.createPublication(what);
      await (await publishSome()).stop();
      await stage.sql('ALTER TABLE orders SET UNLOGGED');
      await stage.sql('ALTER TABLE orders SET LOGGED');
      const reader = await stage.startStreaming();
      const warnings = reader.logs.filter(({ event }) => event === 'reader.capture-changed').map(({ msg }) => msg);
      expect(warnings).toContainEqual(expect.stringMatching(/public\.orders was rewritten.*npm run audit/));
      await stage.load.backlog({ first: 100, count: 5 });
      await stage.requireClean();
      requireUndisturbed(reader);
      await reader.stop();
      // It is told once: the next checkpoint has it.
      const again = await stage.startStreaming();
      expect(again.logs.filter(({ msg }) => /rewritten/.test(msg ?? ''))).toEqual([]);
    },
  );

  it.each(wide)('(%s) under the name of a root is waited for', async (what) => {
    await stage.createPublication(what);
    await stage.sql(
      `ALTER PUBLICATION ${stage.environment.env.PUBLICATION_NAME} SET (publish_via_partition_root = true)`,
    );
    const reader = await stage.startReader();
    expect((await waitForProblems(reader)).codes).toEqual(['PUBLICATION_VIA_ROOT']);
    await stage.sql(
      `ALTER PUBLICATION ${stage.environment.env.PUBLICATION_NAME} SET (publish_via_partition_root = false)`,
    );
    await reader.waitForLog('reader.streaming', slow);
    await stage.load.backlog({ first: 0, count: 5 });
    await stage.requireClean();
  });
});

describe('tables that can not be captured', () => {
  let stage: CaptureStage;
  beforeEach(async () => {
    stage = await createCaptureStage('tables_kinds');
  });
  afterEach(() => stage.cleanUp());

  it.each<[string, string, string, string]>([
    [
      'a child table exists',
      'TABLE_HAS_CHILDREN',
      'CREATE TABLE kid () INHERITS (orders)',
      'ALTER TABLE kid NO INHERIT orders',
    ],
    [
      'it is a partition',
      'TABLE_IS_PARTITION',
      'CREATE TABLE whole (LIKE orders) PARTITION BY RANGE (placed_at); ALTER TABLE whole ATTACH PARTITION orders DEFAULT',
      'ALTER TABLE whole DETACH PARTITION orders',
    ],
    [
      'it is a view',
      'TABLE_KIND',
      'ALTER TABLE orders RENAME TO orders_old; CREATE VIEW orders AS SELECT * FROM orders_old',
      'DROP VIEW orders; ALTER TABLE orders_old RENAME TO orders',
    ],
    [
      'it is partitioned',
      'TABLE_KIND',
      'ALTER TABLE orders RENAME TO orders_old; CREATE TABLE orders (LIKE orders_old) PARTITION BY RANGE (placed_at)',
      'DROP TABLE orders; ALTER TABLE orders_old RENAME TO orders',
    ],
    [
      'it is missing',
      'TABLE_MISSING',
      'ALTER TABLE orders RENAME TO orders_old',
      'ALTER TABLE orders_old RENAME TO orders',
    ],
  ])('have the very first start wait while %s, and go on by itself', async (_, code, there, back) => {
    await stage.load.backlog({ first: 0, count: 5 });
    await stage.sql(there);
    const reader = await stage.startReader();
    expect((await waitForProblems(reader)).codes).toContain(code);
    const { status, body } = await reader.ready();
    expect([status, body.state]).toEqual([503, 'waiting']);
    expect(await listTopics(stage.environment.servers.directBrokers)).not.toContain(stage.environment.env.ORDERS_TOPIC);
    await stage.sql(back);
    await reader.waitForLog('reader.streaming', slow);
    await stage.load.backlog({ first: 5, count: 5 });
    await stage.requireClean();
  });

  it('have the very first start wait while one is unlogged', async () => {
    await stage.createPublication('FOR ALL TABLES');
    await stage.sql('ALTER TABLE orders SET UNLOGGED');
    const reader = await stage.startReader();
    expect((await waitForProblems(reader)).codes).toEqual(['TABLE_UNLOGGED']);
    await stage.sql('ALTER TABLE orders SET LOGGED');
    await reader.waitForLog('reader.streaming', slow);
  });

  it('were attached to a partitioned table and detached while nobody ran: nothing is lost, and nothing halts', async () => {
    const first = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 20 });
    await stage.requireClean();
    await first.stop();
    await stage.sql(`CREATE TABLE whole (LIKE orders) PARTITION BY RANGE (placed_at);
      ALTER TABLE whole ATTACH PARTITION orders DEFAULT`);
    await stage.load.backlog({ first: 20, count: 5 });
    await stage.sql('ALTER TABLE whole DETACH PARTITION orders');
    await stage.load.backlog({ first: 25, count: 5 });
    const reader = await stage.startStreaming();
    await stage.requireClean();
    requireUndisturbed(reader);
  });
});

describe('a first start in the midst of which the tables are changed', () => {
  let stage: CaptureStage;
  beforeEach(async () => {
    stage = await createCaptureStage('tables_first_start');
  });
  afterEach(() => stage.cleanUp());

  /** Of 1,500 orders in batches of 1,000. */
  const publishedBy = {
    'reader.intent-written': 0,
    'reader.slot-created': 0,
    'reader.snapshot-published': 1_000,
    'reader.first-start-done': 1_500,
  };
  // While the snapshot is read, its locks keep the tables from being renamed; their schema can be.
  const cases = [
    ['reader.intent-written', SWAP],
    ['reader.intent-written', VIEWS],
    ['reader.slot-created', SWAP],
    ['reader.slot-created', VIEWS],
    ['reader.slot-created', SCHEMA],
    ['reader.snapshot-published', SCHEMA],
    ['reader.first-start-done', SWAP],
    ['reader.first-start-done', VIEWS],
  ] as const;
  it.each(cases.flatMap(([at, one]) => [[at, one.name, false, one] as const, [at, one.name, true, one] as const]))(
    'halts, and publishes nothing behind it, when at %s %s (and back: %s)',
    async (at, _, isBack, one) => {
      await stage.load.insertTogether({ first: 0, count: 1_500 });
      const reader = await stage.startReader({ failpoints: `${at}=pause` });
      await waitPaused(reader, at);
      await stage.run([...one.there, 'SELECT order_load.place(2000)', ...(isBack ? one.back! : [])]);
      const committed = async () => {
        const topics = await listTopics(stage.environment.servers.directBrokers);
        return topics.includes(stage.environment.env.ORDERS_TOPIC) ? (await readPublished(stage)).length : 0;
      };
      // Kafka has confirmed these, and a broker may still be writing their commit markers.
      const before = publishedBy[at];
      await waitFor(`${before} orders to be visible`, async () => (await committed()) === before);
      resumePaused(reader);
      await requireTablesChanged(reader, one.says);
      expect(await committed()).toBe(before);
      await reader.stop();
      if (at === 'reader.intent-written' || at === 'reader.slot-created') return; // nothing is published: it begins anew
      await requireTablesChanged(await stage.startReader(), one.says);
      expect(await committed()).toBe(before);
    },
  );

  it.each([
    [
      'the publication stops publishing inserts',
      "ALTER PUBLICATION :name SET (publish = 'delete')",
      'PUBLICATION_WITHOUT_INSERTS',
      "ALTER PUBLICATION :name SET (publish = 'insert')",
    ],
    [
      'a table gets a child',
      'CREATE TABLE child () INHERITS (orders)',
      'TABLE_HAS_CHILDREN',
      'DROP TABLE child; VACUUM orders',
    ],
  ])(
    'waits by name when %s after the preflight, and publishes every order once that is undone',
    async (_, there, code, back) => {
      await stage.load.insertTogether({ first: 0, count: 10 });
      const reader = await stage.startReader({ failpoints: 'reader.before-intent=pause' });
      await waitPaused(reader, 'reader.before-intent');
      const named = (statement: string) => statement.replace(':name', stage.environment.env.PUBLICATION_NAME);
      await stage.run([named(there), 'SELECT order_load.place(2000)']);
      resumePaused(reader);
      await waitFor(`the reader to wait with ${code}`, async () => {
        const { status, body } = await reader.ready();
        return status === 503 && JSON.stringify(body).includes(code);
      });
      for (const statement of back.split('; ')) await stage.run([named(statement)]);
      await stage.run(['SELECT order_load.place(3000)']);
      await waitFor('all orders', async () => (await readPublished(stage)).length === 12);
    },
  );
});
