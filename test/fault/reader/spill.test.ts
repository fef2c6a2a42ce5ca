// Where the rows of a large transaction go: a directory that is missing or read-only is named at the start, a full disk when
// it is met; in each case the reader goes on by itself once that is repaired, and nothing is lost (fault class C).
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { classifyFailure } from '#service/failure.ts';
import { RowSpool } from '../../../cdc-reader/encode/row-spool.ts';
import { findSpillProblems } from '../../../cdc-reader/startup/spill-directory.ts';
import { mountSmallDisk, unmountBelow } from '../../support/postgres/small-disk.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';

const megabyte = 1024 * 1024;

describe('SPILL_DIRECTORY', () => {
  let directory: string;
  beforeEach(() => {
    directory = createTestDirectory('spill');
  });
  afterEach(() => {
    unmountBelow(directory);
    removeTestDirectory(directory);
  });

  it('on a read-only disk is a problem, and the spool names the variable', () => {
    const disk = mountSmallDisk(`${directory}/disk`, 1);
    execFileSync('mount', ['-o', 'remount,ro', disk.path]);
    expect(findSpillProblems(disk.path)[0]!.problem).toContain("can't be written to (EROFS)");
    expect(() => new RowSpool(disk.path)).toThrow(/SPILL_DIRECTORY/);
  });

  it('on a full disk waits by name, and the rows that were written give back their space', () => {
    const disk = mountSmallDisk(`${directory}/disk`, 4);
    const spool = new RowSpool(disk.path);
    const row = { tag: 0, tuple: Buffer.alloc(megabyte) };
    const fill = (target: RowSpool, rows: number) => {
      for (let ordinal = 0; ordinal < rows; ordinal++) target.addOrder(ordinal, row);
    };
    let error: unknown;
    try {
      fill(spool, 8);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'ENOSPC', message: expect.stringContaining(`SPILL_DIRECTORY (${disk.path})`) });
    expect(classifyFailure(error)).toMatchObject({ kind: 'waiting', name: 'DISK_FULL' });
    expect(() => fill(spool, 2)).toThrow('was closed');
    const next = new RowSpool(disk.path);
    fill(next, 3);
    expect([...next.orders()]).toHaveLength(3);
    next.close();
  });

  describe('of a reader', () => {
    let stage: PipelineStage;
    afterEach(() => stage.cleanUp());

    it('that does not exist is waited for, by name', async () => {
      stage = await createPipelineStage('spill_missing');
      const path = `${directory}/later`;
      const reader = await stage.startReader({ more: { SPILL_DIRECTORY: path } });
      const waiting = await reader.waitForLog('reader.waiting', { deadlineMs: 30_000 });
      expect((waiting.problems as { code: string }[]).map(({ code }) => code)).toEqual(['SPILL_DIRECTORY']);
      expect((await reader.ready()).status).toBe(503);
      mkdirSync(path);
      await reader.waitForLog('reader.streaming', { deadlineMs: 30_000 });
    });

    it('that is full delays a large transaction, and loses none', async () => {
      stage = await createPipelineStage('spill_full');
      const disk = mountSmallDisk(`${directory}/disk`, 1);
      disk.fill();
      const reader = await stage.startStreaming({ more: { SPILL_DIRECTORY: disk.path, SPILL_BYTES: '1024' } });
      await withServer(stage.environment.env.ORDER_DATABASE_URL, (client) =>
        client.query(`
          WITH placed AS (
            INSERT INTO orders (order_id, user_id, total_cents)
            SELECT gen_random_uuid(), 'user-' || n % 7, 100 FROM generate_series(1, 500) AS n RETURNING order_id
          )
          INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
          SELECT order_id, 1, 'SKU-1', 1, 100 FROM placed`),
      );
      const refused = await reader.waitForLog('pipeline.waiting', { deadlineMs: 30_000 });
      expect(refused.name).toBe('DISK_FULL');
      expect(refused.err).toMatchObject({ code: 'ENOSPC', message: expect.stringContaining('SPILL_DIRECTORY') });
      disk.free();
      await stage.requireClean(60_000);
    });
  });
});
