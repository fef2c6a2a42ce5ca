// Database transactions that live long, sleep, or lie inside one another in the log, with the reader killed and started
// again around them: each is published whole, once, when it commits, and never when it does not (I1, I2, I4, I5;
// faults A and D). Debezium has lost rows of one LSN and of interleaved transactions over such restarts.
import type pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectTo, insertItemRow, insertOrderRow } from '../../support/postgres/order-database.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { readPublished } from '../../support/stack/require-halted.ts';
import { waitFor } from '../../support/wait.ts';

describe('a transaction', () => {
  let stage: PipelineStage;
  let client: pg.Client;
  beforeEach(async () => {
    stage = await createPipelineStage('transactions');
    client = await connectTo(stage.environment.env.ORDER_DATABASE_URL);
  });
  afterEach(async () => {
    await client.end();
    await stage.cleanUp();
  });

  const insertOrder = async (): Promise<string> => {
    const orderId = await insertOrderRow(client);
    await insertItemRow(client, orderId);
    return orderId;
  };
  const confirmed = () =>
    withServer(stage.environment.env.ORDER_DATABASE_URL, async (own) => {
      const { rows } = await own.query<{ at: string; through: boolean }>(
        `SELECT confirmed_flush_lsn AS at, confirmed_flush_lsn > pg_current_wal_lsn() - 1000 AS through
         FROM pg_replication_slots WHERE slot_name = '${stage.environment.env.SLOT_NAME}'`,
      );
      return rows[0]!;
    });
  /** Waits until Postgres has been told of progress beyond where it was at the call. */
  const waitAcknowledged = async (): Promise<void> => {
    const { at } = await confirmed();
    await stage.load.place(900_000 + Math.trunc(performance.now()));
    await waitFor('progress to be acknowledged', async () => (await confirmed()).at !== at, { deadlineMs: 30_000 });
  };
  const ids = async () => (await readPublished(stage)).map(({ orderId }) => orderId);

  it('that stays open while others commit and are acknowledged is published when it commits, over restarts', async () => {
    const first = await stage.startStreaming();
    await client.query('BEGIN');
    const early = await insertOrder();
    await stage.load.pace({ first: 0, count: 50, ordersPerSecond: 100 });
    await waitAcknowledged();
    await first.kill();
    const late = await insertOrder();
    await stage.load.backlog({ first: 50, count: 50 });
    const second = await stage.startStreaming();
    await waitAcknowledged();
    expect(await ids()).not.toContain(early);
    await client.query('COMMIT');
    await stage.requireClean();
    expect((await ids()).slice(-2)).toEqual([early, late]);
    await second.stop();
    await stage.startStreaming();
    await stage.load.place(200);
    await stage.requireClean();
  });

  it('that was open when the reader first started is published once, from the snapshot or the stream', async () => {
    await stage.load.backlog({ first: 0, count: 100 });
    await client.query('BEGIN');
    await insertOrder();
    // The slot can't be made before this transaction has ended: the first start waits for it.
    const reader = await stage.startReader();
    await waitFor(
      'the first start to wait for the transaction',
      () =>
        withServer(stage.environment.env.ORDER_DATABASE_URL, async (own) => {
          const { rows } = await own.query(
            `SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walsender' AND wait_event_type = 'Lock'`,
          );
          return rows.length > 0;
        }),
      { deadlineMs: 30_000 },
    );
    await stage.load.backlog({ first: 100, count: 20 });
    await insertOrder();
    await client.query('COMMIT');
    await reader.waitForLog('reader.streaming', { deadlineMs: 30_000 });
    await stage.load.backlog({ first: 120, count: 20 });
    await stage.requireClean();
  });

  it('that is prepared is published when it is committed, over restarts, and never when it is rolled back', async () => {
    const { id } = stage.environment;
    const first = await stage.startStreaming();
    await client.query('BEGIN');
    const committed = await insertOrder();
    await client.query(`PREPARE TRANSACTION 'kept_${id}'`);
    await client.query('BEGIN');
    const rolledBack = await insertOrder();
    await client.query(`PREPARE TRANSACTION 'undone_${id}'`);
    try {
      await stage.load.pace({ first: 0, count: 50, ordersPerSecond: 100 });
      await waitAcknowledged();
      await first.kill();
      const second = await stage.startStreaming();
      await waitAcknowledged();
      expect(await ids()).not.toContain(committed);
      await client.query(`COMMIT PREPARED 'kept_${id}'`);
      await client.query(`ROLLBACK PREPARED 'undone_${id}'`);
      await stage.requireClean();
      await second.kill();
      await stage.startStreaming();
      await stage.load.place(60);
      await stage.requireClean();
      expect(await ids()).toContain(committed);
      expect(await ids()).not.toContain(rolledBack);
    } catch (error) {
      for (const end of [`ROLLBACK PREPARED 'kept_${id}'`, `ROLLBACK PREPARED 'undone_${id}'`]) {
        await client.query(end).catch(() => undefined); // the failed test may have ended either
      }
      throw error;
    }
  });

  it.each(['reader.before-commit', 'reader.before-acknowledge'])(
    'of many rows that lies around many short ones is neither torn nor lost when the reader is killed at %s',
    async (failpoint) => {
      const first = await stage.startStreaming({
        failpoints: `${failpoint}=kill:8`,
        more: { SPILL_BYTES: '4096', GROUP_MAX_ORDERS: '20' },
      });
      await client.query('BEGIN');
      // Multi-row statements: several rows share one position in the log; a savepoint undone lies in between.
      const manyRows = `
        WITH placed AS (
          INSERT INTO orders (order_id, user_id, total_cents)
          SELECT gen_random_uuid(), 'user-' || n % 7, 300 FROM generate_series(1, 40) AS n RETURNING order_id
        )
        INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
        SELECT order_id, line_no, 'SKU-' || line_no, 1, 100 FROM placed, generate_series(1, 3) AS line_no`;
      let number = 0;
      let isOver = false;
      void first.exited.then(() => {
        isOver = true;
      });
      while (!isOver) {
        await client.query(manyRows);
        await client.query('SAVEPOINT undone');
        await client.query(manyRows);
        await client.query('ROLLBACK TO undone');
        await stage.load.backlog({ first: number, count: 5 });
        number += 5;
        if (number % 50 !== 0) continue;
        await client.query('COMMIT');
        await client.query('BEGIN');
      }
      expect((await first.exited).signal).toBe('SIGKILL');
      await client.query(manyRows);
      await client.query('COMMIT');
      await stage.startStreaming({ more: { SPILL_BYTES: '4096', GROUP_MAX_ORDERS: '20' } });
      await stage.load.backlog({ first: number, count: 20 });
      await stage.requireClean(60_000);
    },
  );

  it('is lost and repeated at no point of a later start either: killed again and again while orders flow', async () => {
    const first = await stage.startStreaming({ failpoints: 'reader.after-publish=kill:3' });
    const load = stage.load.pace({ first: 0, count: 800, ordersPerSecond: 50 });
    expect((await first.exited).signal).toBe('SIGKILL');
    for (const failpoint of ['slot-taken', 'before-fence', 'fenced', 'before-streaming']) {
      const doomed = await stage.startReader({ failpoints: `reader.${failpoint}=kill` });
      expect((await doomed.exited).signal, failpoint).toBe('SIGKILL');
    }
    await stage.startStreaming();
    await load;
    await stage.requireClean(60_000);
  });
});
