// What operators' commands make of captured tables that were swapped, dropped or hidden: adopt refuses while an order would
// be lost, the audit says what is so, and the way out that the halt names ends with a clean audit. The order that only the
// old table holds was committed before the swap and not published, since the reader was down.
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDisasterStage, type DisasterStage, slow } from '../../support/stack/disaster-stage.ts';
import { withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const SWAP = `
  BEGIN;
  ALTER TABLE orders RENAME TO orders_old;
  ALTER TABLE order_items RENAME TO order_items_old;
  CREATE TABLE orders (LIKE orders_old INCLUDING ALL);
  CREATE TABLE order_items (LIKE order_items_old INCLUDING ALL);
  COMMIT`;

/** The remedy of the halt: the captured tables under their names, with what went to the others copied in. */
const PUT_BACK = `
  BEGIN;
  SET LOCAL session_replication_role = replica;
  INSERT INTO orders_old SELECT * FROM orders;
  INSERT INTO order_items_old SELECT * FROM order_items;
  DROP TABLE orders, order_items;
  ALTER TABLE orders_old RENAME TO orders;
  ALTER TABLE order_items_old RENAME TO order_items;
  COMMIT`;

const PUBLISH_THE_OTHERS = (publication: string) => `ALTER PUBLICATION ${publication} SET TABLE orders, order_items`;

describe('after the captured tables were swapped', () => {
  let stage: DisasterStage;
  let swapped: { readonly unpublished: number };
  beforeEach(async () => {
    stage = await createDisasterStage('tables_replaced');
    const reader = await stage.startStreaming();
    await stage.startSink();
    await stage.load.backlog({ first: 0, count: 20 });
    await stage.waitApplied();
    await reader.stop();
    await stage.load.backlog({ first: 20, count: 5 }); // committed before the swap, published by nobody
    await stage.orders(SWAP);
    await stage.load.backlog({ first: 40, count: 3 }); // into the other tables
    swapped = { unpublished: 5 };
  });
  afterEach(() => stage.cleanUp());

  const publication = () => stage.environment.env.PUBLICATION_NAME;

  /** Holds an old table locked until the command has waited for it for longer than the role's limit on a statement. */
  const holdLocked = async <T>(command: () => Promise<T>): Promise<T> => {
    const waiting = "FROM pg_stat_activity WHERE application_name = 'tillstream-adopt' AND wait_event_type = 'Lock'";
    return withServer(stage.environment.env.ORDER_DATABASE_URL, async (client) => {
      await client.query('BEGIN; LOCK TABLE orders_old');
      const running = command();
      running.catch(() => undefined); // thrown where it is awaited
      const locked = async () => expect(await stage.orders(`SELECT pid ${waiting}`)).toHaveLength(1);
      await Promise.race([waitFor('adopt to wait for the old table', locked, slow), running]);
      await delay(5_000);
      await client.query('ROLLBACK');
      return running;
    });
  };

  it('the reader halts, adopt and audit name the tables, and the remedy ends with a clean audit', async () => {
    const halted = await stage.startReader();
    const { msg } = await stage.waitHalted(halted, 'TABLES_CHANGED');
    expect(msg).toContain('is now public.orders_old');
    expect(msg).toContain('npm run adopt -- reader');
    expect(msg).not.toMatch(/restored|npm run migrate/);
    await halted.stop();

    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stderr).toContain('is now public.orders_old');
    expect(refused.stdout).toContain(`${swapped.unpublished} orders in it are neither in the ledger`);
    const blind = await stage.run('adopt', ['reader', '--yes'], { code: 1, env: { CART_DATABASE_URL: '' } });
    expect(blind.stdout).toContain('CART_DATABASE_URL');
    const early = await stage.run('replay', ['--source', 'tables', '--yes'], { code: 78 });
    expect(early.stderr).toContain('is not the table that the reader captured');
    expect(early.stderr).not.toContain('restored');
    const audit = await stage.run('audit', ['--no-wait'], { code: 1 });
    expect(audit.stdout).toContain('is now public.orders_old');
    expect(audit.stdout).toContain(`${swapped.unpublished} orders in it are neither in the ledger`);
    expect(audit.stdout).toMatch(/^replaced +20 /m);
    expect(audit.stdout).toMatch(/^phantom +0 /m);
    expect(audit.stdout).not.toContain('restored');

    await stage.orders(PUT_BACK);
    const adopted = await stage.run('adopt', ['reader', '--yes']);
    expect(adopted.stdout).toContain('npm run replay -- --source tables');
    await stage.startStreaming();
    await stage.run('replay', ['--source', 'tables', '--yes']);
    await stage.waitApplied();
    await stage.requireWhole();
  });

  it('adopt refuses while only the old table holds orders, lists them, and goes on once they are given up', async () => {
    await stage.orders(PUBLISH_THE_OTHERS(publication()));
    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stdout).toContain(`${swapped.unpublished} orders in it are neither in the ledger`);
    expect(refused.stderr).toContain('5 orders would be lost'); // each lies in both tables, and counts once
    expect(refused.stderr).toContain('--leave-orders');
    await stage.run('adopt', ['reader', '--yes', '--leave-orders', '4'], { code: 1 });
    await stage.run('adopt', ['reader', '--yes', '--leave-orders', '5']);
    await stage.startStreaming();
    await stage.run('replay', ['--source', 'tables', '--yes']); // although today's table lacks what was published last
    const [row] = await stage.carts('SELECT count(*)::int AS applied FROM applied_orders');
    expect(row).toEqual({ applied: 23 });
  });

  it('the audit says that views stand under their names, and what the old tables hold is no phantom', async () => {
    await stage.orders(`
      DROP TABLE orders, order_items;
      CREATE VIEW orders AS SELECT * FROM orders_old WHERE false;
      CREATE VIEW order_items AS SELECT * FROM order_items_old WHERE false`);
    const { stdout } = await stage.run('audit', ['--no-wait'], { code: 1 });
    expect(stdout).toContain('public.orders is a view');
    expect(stdout).toMatch(/^replaced +20 /m);
    expect(stdout).toMatch(/^phantom +0 /m);
  });

  it('adopt and audit refuse a role that may not read every row of the old tables, with the remedy', async () => {
    const role = `auditor_${stage.environment.id}`;
    await stage.orders(PUBLISH_THE_OTHERS(publication()));
    await stage.orders(`
      CREATE ROLE ${role} LOGIN REPLICATION;
      GRANT SELECT ON orders, order_items TO ${role};
      GRANT pg_monitor TO ${role}`);
    const url = new URL(stage.environment.env.ORDER_DATABASE_URL);
    url.username = role;
    const env = { ORDER_DATABASE_URL: url.href };
    try {
      for (const [tool, args] of [
        ['audit', ['--no-wait']],
        ['adopt', ['reader', '--yes']],
      ] as const) {
        const refused = await stage.run(tool, args, { code: 78, env });
        expect(refused.stderr).toContain('permission denied for table orders_old');
        expect(refused.stderr).toContain('GRANT SELECT');
      }
      await stage.orders(`
        ALTER TABLE orders_old ENABLE ROW LEVEL SECURITY;
        GRANT SELECT ON orders_old, order_items_old TO ${role}`);
      const hidden = await stage.run('adopt', ['reader', '--yes'], { code: 78, env });
      expect(hidden.stderr).toContain('DISABLE ROW LEVEL SECURITY');
      await stage.orders('ALTER TABLE orders_old DISABLE ROW LEVEL SECURITY');
      await stage.orders(`ALTER ROLE ${role} SET statement_timeout = '3s'`);
      const shown = await holdLocked(() => stage.run('adopt', ['reader', '--yes'], { code: 1, env }));
      expect(shown.stderr).toContain('5 orders would be lost');
    } finally {
      await stage.orders(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });

  it('adopt and audit name the orders of tables that stood in for the captured ones, also when these are back', async () => {
    await stage.orders(`
      BEGIN;
      ALTER TABLE orders RENAME TO orders_new;
      ALTER TABLE order_items RENAME TO order_items_new;
      ALTER TABLE orders_old RENAME TO orders;
      ALTER TABLE order_items_old RENAME TO order_items;
      COMMIT`);
    const audit = await stage.run('audit', ['--no-wait'], { code: 1 });
    expect(audit.stdout).toContain('public.orders_new');
    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stdout).toContain('public.orders_new');
    expect(refused.stdout).toContain('3 orders in it are neither in the ledger');
    expect(refused.stderr).toContain('session_replication_role');
    await stage.orders(`
      BEGIN;
      SET LOCAL session_replication_role = replica;
      INSERT INTO orders SELECT * FROM orders_new;
      INSERT INTO order_items SELECT * FROM order_items_new;
      COMMIT`);
    await stage.run('adopt', ['reader', '--yes']);
    await stage.startStreaming();
    await stage.orders('ALTER TABLE order_items ALTER quantity TYPE bigint'); // what the audit compares is a number still
    await stage.run('replay', ['--source', 'tables', '--yes']);
    await stage.waitApplied();
    await stage.requireWhole();
  });

  it('halts at its start when the slot is gone as well, instead of waiting with other advice', async () => {
    await stage.orders(`SELECT pg_drop_replication_slot('${stage.environment.env.SLOT_NAME}')`);
    await stage.waitHalted(await stage.startReader(), 'TABLES_CHANGED');
  });

  it('adopt wants a word about orders of a table that is gone', async () => {
    await stage.orders(PUBLISH_THE_OTHERS(publication()));
    await stage.orders('DROP TABLE orders_old, order_items_old');
    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stdout).toContain('does not exist any more');
    await stage.run('adopt', ['reader', '--yes', '--leave-orders', '0']);
    await stage.startStreaming();
  });

  it('adopt needs no word once the orders were copied into the tables of today, and replay brings them', async () => {
    await stage.orders(PUBLISH_THE_OTHERS(publication()));
    await stage.orders(`
      BEGIN;
      SET LOCAL session_replication_role = replica;
      INSERT INTO orders SELECT * FROM orders_old;
      INSERT INTO order_items SELECT * FROM order_items_old;
      COMMIT`);
    await stage.run('adopt', ['reader', '--yes']);
    await stage.startStreaming();
    await stage.run('replay', ['--source', 'tables', '--yes']);
    await stage.waitApplied();
    await stage.requireWhole();
  });
});

describe('after the captured tables were swapped in the midst of the first start', () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('tables_first');
  });
  afterEach(() => stage.cleanUp());

  it('adopt refuses while they are, and once they are back lets the first start go on with them', async () => {
    await stage.load.backlog({ first: 0, count: 2_500 });
    const failpoints = 'reader.snapshot-published=kill:2';
    const killed = await stage.environment.startService('cdc-reader', {}, { failpoints });
    expect((await killed.exited).signal).toBe('SIGKILL');
    await stage.orders(`${SWAP}; ${PUBLISH_THE_OTHERS(stage.environment.env.PUBLICATION_NAME)}`);
    const halted = await stage.startReader();
    await stage.waitHalted(halted, 'TABLES_CHANGED');
    await halted.stop();

    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stderr).toContain('2500 orders would be lost');
    await stage.orders(PUT_BACK);
    await stage.orders(PUBLISH_THE_OTHERS(stage.environment.env.PUBLICATION_NAME));
    const adopted = await stage.run('adopt', ['reader', '--yes']);
    expect(adopted.stdout).toContain('Start the reader');
    await stage.startStreaming();
    await stage.startSink();
    await stage.waitApplied();
    await stage.requireWhole();
  });
});

describe('under a role that row-level security applies to', () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('tables_hidden');
  });
  afterEach(() => stage.cleanUp());

  it('the audit refuses with the remedy, and never agrees', async () => {
    const role = `auditor_${stage.environment.id}`;
    await stage.orders(`
      CREATE ROLE ${role} LOGIN;
      GRANT SELECT ON orders, order_items TO ${role};
      ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
      CREATE POLICY everything ON orders USING (true)`);
    const url = new URL(stage.environment.env.ORDER_DATABASE_URL);
    url.username = role;
    try {
      const refused = await stage.run('audit', ['--no-wait'], { code: 78, env: { ORDER_DATABASE_URL: url.href } });
      expect(refused.stderr).toContain('Row-level security of public.orders applies to the role');
      expect(refused.stderr).toContain('BYPASSRLS');
    } finally {
      await stage.orders(`DROP POLICY everything ON orders; DROP OWNED BY ${role}; DROP ROLE ${role}`);
    }
  });
});
