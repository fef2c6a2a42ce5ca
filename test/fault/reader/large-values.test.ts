// Values of other people's columns in the captured tables, as large as a row can hold them: the reader skips them, with the
// memory that its package gives it, and publishes the orders (fault class E).
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';

const megabyte = 1024 * 1024;

describe('a value in a column that is not of the contract', () => {
  let stage: PipelineStage;
  afterEach(() => stage.cleanUp());

  it('of 60 MB is skipped within the heap of the service, several in one transaction and large rows on end', async () => {
    stage = await createPipelineStage('large_values');
    const { ORDER_DATABASE_URL } = stage.environment.env;
    await withServer(ORDER_DATABASE_URL, async (client) => {
      await client.query('ALTER TABLE orders ADD COLUMN attachment bytea');
      await client.query('ALTER TABLE orders ALTER COLUMN attachment SET STORAGE EXTERNAL');
    });
    const reader = await stage.startStreaming();
    await withServer(ORDER_DATABASE_URL, async (client) => {
      // As text in the stream a bytea has two digits a byte: 60 MB.
      const place = `
        WITH placed AS (
          INSERT INTO orders (order_id, user_id, total_cents, attachment)
          SELECT gen_random_uuid(), 'user-' || n, 100, decode(repeat('ab', ${30 * megabyte}), 'hex')
          FROM generate_series(1, $1::int) AS n RETURNING order_id
        )
        INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
        SELECT order_id, 1, 'SKU-1', 1, 100 FROM placed`;
      await client.query(place, [3]);
      for (let n = 0; n < 3; n++) await client.query(place, [1]);
    });
    await stage.load.backlog({ first: 0, count: 20 });
    await stage.requireClean(90_000);
    expect(reader.logs.filter(({ event }) => event === 'reader.restarting')).toEqual([]);
    expect(reader.exitCode).toBeUndefined();
    const peak = Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${reader.pid}/status`, 'utf8'))?.[1]);
    expect(peak * 1024).toBeLessThan(1_000 * megabyte);
  });
});
