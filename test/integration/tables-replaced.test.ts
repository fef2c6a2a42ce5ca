// What operators' commands make of captured tables that were swapped, dropped or hidden: adopt refuses while an order would
// be lost, the audit says what is so, and the way out that the halt names ends with a clean audit. The order that only the
// old table holds was committed before the swap and not published, since the reader was down.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDisasterStage, type DisasterStage } from '../support/disaster-stage.ts';

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
    const reader = await stage.startReader();
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

  it('the reader halts, adopt and audit name the tables, and the remedy ends with a clean audit', async () => {
    const halted = await stage.startHalting('cdc-reader');
    const { msg } = await stage.waitHalted(halted, 'TABLES_CHANGED');
    expect(msg).toContain('is now public.orders_old');
    expect(msg).toContain('npm run adopt -- reader');
    expect(msg).not.toMatch(/restored|npm run migrate/);
    await halted.stop();

    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stderr).toContain('is now public.orders_old');
    const audit = await stage.run('audit', ['--no-wait'], { code: 1 });
    expect(audit.stdout).toContain('is now public.orders_old');
    expect(audit.stdout).toContain(`${swapped.unpublished} orders in it are neither in the ledger`);
    expect(audit.stdout).toMatch(/^replaced +20 /m);
    expect(audit.stdout).toMatch(/^phantom +0 /m);
    expect(audit.stdout).not.toContain('restored');

    await stage.orders(PUT_BACK);
    const adopted = await stage.run('adopt', ['reader', '--yes']);
    expect(adopted.stdout).toContain('npm run replay -- --source tables');
    await stage.startReader();
    await stage.run('replay', ['--source', 'tables', '--yes']);
    await stage.waitApplied();
    await stage.requireWhole();
  });

  it('adopt refuses while only the old table holds orders, lists them, and goes on once they are given up', async () => {
    await stage.orders(PUBLISH_THE_OTHERS(publication()));
    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stdout).toContain(`${swapped.unpublished} orders in it are neither in the ledger`);
    expect(refused.stderr).toContain('--leave-orders');
    await stage.run('adopt', ['reader', '--yes', '--leave-orders', '4'], { code: 1 });
    await stage.run('adopt', ['reader', '--yes', '--leave-orders', '10']);
    await stage.startReader();
  });

  it('adopt wants a word about orders of a table that is gone', async () => {
    await stage.orders(PUBLISH_THE_OTHERS(publication()));
    await stage.orders('DROP TABLE orders_old, order_items_old');
    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stdout).toContain('does not exist any more');
    await stage.run('adopt', ['reader', '--yes', '--leave-orders', '0']);
    await stage.startReader();
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
    await stage.startReader();
    await stage.run('replay', ['--source', 'tables', '--yes']);
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
