// The orders move to another cluster: its positions compare with nothing in the old topic, so adopt refuses and prints the
// steps. They are done here: the sinks drain the old topic, then a new live topic and slot begin, and the ledger knows
// what was applied before.
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { parseCommands } from '../../support/halts/follow.ts';
import { migrateTestOrders } from '../../support/postgres/order-database.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { createDisasterStage, type DisasterStage, slow } from '../../support/stack/disaster-stage.ts';
import { withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const columns = {
  orders: 'order_id, user_id, status, source, currency, total_cents, idempotency_key, placed_at',
  order_items: 'order_id, line_no, sku, quantity, unit_price_cents, cart_line_id',
};

describe('orders that move to another cluster', { timeout: 300_000 }, () => {
  let stage: DisasterStage;
  let directory: string;
  let server: LocalPostgres;
  let url: string;
  beforeEach(async () => {
    directory = createTestDirectory('cluster');
    stage = await createDisasterStage('other_cluster');
    server = await createLocalPostgres({ directory: join(directory, 'postgres'), settings: { fsync: 'off' } });
    await server.start();
    await server.createDatabase('shop');
    url = server.url('shop');
    await migrateTestOrders(url, stage.environment.env.PUBLICATION_NAME);
  });
  afterEach(async () => {
    await stage.cleanUp();
    await server.close();
    removeTestDirectory(directory);
  });

  /** What a dump and restore does: every row, in one transaction. */
  const copyOrders = () =>
    withServer(url, async (client) => {
      await client.query('BEGIN');
      for (const table of ['orders', 'order_items'] as const) {
        const rows = await stage.orders(`SELECT to_jsonb(r) AS row FROM (SELECT ${columns[table]} FROM ${table}) AS r`);
        await client.query(
          `INSERT INTO ${table} (${columns[table]})
           SELECT ${columns[table]} FROM jsonb_populate_recordset(NULL::${table}, $1::jsonb)`,
          [JSON.stringify(rows.map(({ row }) => row))],
        );
      }
      await client.query('COMMIT');
    });

  it('go on in a new topic once the sinks have drained the old one', async () => {
    const { id, env } = stage.environment;
    const sink = await stage.startSink();
    const reader = await stage.startStreaming();
    const traffic = stage.startTraffic();
    await waitFor('some orders', async () => (await stage.carts('SELECT FROM applied_orders')).length > 60, slow);
    await traffic.stop(); // the shop is closed for the move
    const placed = stage.nextOrder();
    await copyOrders();
    await reader.stop();

    const moved = { ORDER_DATABASE_URL: url };
    const halted = await stage.startReader({ more: moved });
    const { msg } = await stage.waitHalted(halted, 'SOURCE_CHANGED');
    const commands = parseCommands(String(msg));
    await halted.stop();
    for (const args of [
      ['reader', '--yes'],
      ['reader', '--yes', '--force'],
    ]) {
      const refused = await stage.run('adopt', args, { code: 1, env: moved });
      const words = ['SOURCE_CHANGED', '1. let the sinks drain', '2. set ORDERS_TOPIC', '4. npm run audit'];
      for (const word of words) expect(refused.stderr).toContain(word);
    }

    await stage.waitApplied();
    await sink.stop();
    // The commands of the message, with new names. The checkpoint topic is named by the slot, unless it is set, as here.
    const names = { NEW_TOPIC: `again.${env.ORDERS_TOPIC}`, NEW_SLOT: `again_${id}` };
    const variables = (service: string) => {
      const command = commands.find((one) => one.endsWith(`npm run ${service}`))!;
      return [...command.matchAll(/(\w+)=(\w+)/g)].map(([, name, value]) => [name, names[value as keyof typeof names]]);
    };
    const checkpoints = { CHECKPOINT_TOPIC: `again.${env.CHECKPOINT_TOPIC}` };
    const renamed = { ...moved, ...checkpoints, ...Object.fromEntries(variables('cdc-reader')) };
    await stage.startStreaming({ more: renamed });
    await stage.startSink({ more: Object.fromEntries(variables('cart-sink')) });
    const more = stage.startTraffic(url);
    await waitFor(
      'orders of the new cluster',
      async () => {
        return (await stage.carts('SELECT FROM applied_orders')).length > placed + 20;
      },
      slow,
    );
    await more.stop();
    await stage.requireWhole(renamed);
  });
});
