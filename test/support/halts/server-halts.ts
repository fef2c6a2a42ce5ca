// The halts over an orders server that is not as it was: each has a server of its own, which the fault replaces. What a
// restored server lacks, no command can bring back: the shop places those orders again, under their ids.
import { withServer } from '../stack/environment.ts';
import { waitFor } from '../wait.ts';
import { type HaltCase, type World, whileReaderIsDown } from './row.ts';

const columns = {
  orders: 'order_id, user_id, status, source, currency, total_cents, idempotency_key, placed_at',
  order_items: 'order_id, line_no, sku, quantity, unit_price_cents, cart_line_id',
};
type Lost = Record<keyof typeof columns, string>;
const lostOrders = new WeakMap<object, Lost>();

/** Remembers all orders, so that {@link placeAgain} can place those that are gone by then. */
async function remember({ stage }: World): Promise<void> {
  const read = async (table: keyof typeof columns) => {
    const rows = await stage.orders(`SELECT to_jsonb(r) AS row FROM (SELECT ${columns[table]} FROM ${table}) AS r`);
    return JSON.stringify(rows.map(({ row }) => row));
  };
  lostOrders.set(stage, { orders: await read('orders'), order_items: await read('order_items') });
}

async function placeAgain({ stage }: World): Promise<void> {
  const lost = lostOrders.get(stage)!;
  await withServer(stage.environment.env.ORDER_DATABASE_URL, async (client) => {
    await client.query('BEGIN');
    for (const table of ['orders', 'order_items'] as const) {
      await client.query(
        `INSERT INTO ${table} (${columns[table]})
         SELECT ${columns[table]} FROM jsonb_populate_recordset(NULL::${table}, $1::jsonb) AS lost
         WHERE lost.order_id NOT IN (SELECT order_id FROM ${table === 'orders' ? 'orders' : 'stage_kept'})`,
        [lost[table]],
      );
      if (table === 'orders') {
        // The items of orders that were there before are there too.
        await client.query(`CREATE TEMP TABLE stage_kept ON COMMIT DROP AS SELECT DISTINCT order_id FROM order_items`);
      }
    }
    await client.query('COMMIT');
  });
}

const writeWal = (world: World, megabytes: number) =>
  world.stage.orders(`SELECT pg_logical_emit_message(false, 'noise', repeat('x', 1000000)), pg_switch_wal()
    FROM generate_series(1, ${megabytes})`);

export const serverHalts: readonly HaltCase[] = [
  {
    code: 'SLOT_LOST',
    ownServer: { max_slot_wal_keep_size: '32MB', min_wal_size: '32MB', max_wal_size: '64MB' },
    fault: whileReaderIsDown(async (world) => {
      await world.place();
      const { SLOT_NAME } = world.stage.environment.env;
      await waitFor(
        'the slot to be lost',
        async () => {
          await writeWal(world, 8);
          await world.stage.orders('CHECKPOINT');
          const [slot] = await world.stage.orders(
            `SELECT wal_status FROM pg_replication_slots WHERE slot_name = '${SLOT_NAME}'`,
          );
          return slot!.wal_status === 'lost';
        },
        { deadlineMs: 60_000 },
      );
    }),
    after: async ({ stage }) => {
      await stage.orders(`ALTER SYSTEM SET max_slot_wal_keep_size = '-1'`);
      await stage.orders('SELECT pg_reload_conf()');
    },
  },
  {
    code: 'SERVER_BEHIND',
    ownServer: {},
    fault: async (world) => {
      await world.reader.stop();
      await world.source!.backUp('copy');
      const reader = await world.stage.startStreaming();
      await world.place();
      await world.stage.waitApplied();
      await writeWal(world, 3);
      await world.place();
      await world.stage.waitApplied();
      await reader.stop();
      await remember(world);
      await world.source!.replaceWithCopy('copy');
      return world.stage.startReader();
    },
    after: placeAgain,
  },
  {
    code: 'TIMELINE_FORKED',
    ownServer: {},
    fault: async (world) => {
      await world.reader.stop();
      await world.source!.backUp('backup');
      const reader = await world.stage.startStreaming();
      await world.place();
      await world.stage.waitApplied();
      await reader.stop();
      await remember(world);
      await world.source!.promoteCopy('backup');
      return world.stage.startReader();
    },
    after: placeAgain,
  },
  {
    code: 'CONTENTS_DIFFER',
    fault: whileReaderIsDown(async (world) => {
      await remember(world);
      await world.stage.orders(`BEGIN; SET LOCAL session_replication_role = replica;
        DELETE FROM order_items; DELETE FROM orders; COMMIT`);
    }),
    after: placeAgain,
  },
];
