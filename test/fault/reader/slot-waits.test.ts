// A first start while a transaction is left open somewhere in the cluster: the reader names the session it waits for, also after it
// was stopped and started again, and does not take its own unfinished slot for another reader (fault class D).
import type pg from 'pg';
import { afterEach, beforeEach, describe, it } from 'vitest';
import { connectTo } from '../../support/postgres/order-database.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitFor } from '../../support/wait.ts';

describe('a first start', () => {
  let stage: PipelineStage;
  let idle: pg.Client;
  let pid: number;

  beforeEach(async () => {
    stage = await createPipelineStage('slot_waits');
    const elsewhere = new URL(stage.environment.env.ORDER_DATABASE_URL);
    elsewhere.pathname = '/postgres';
    idle = await connectTo(elsewhere.href);
    await idle.query("SET application_name = 'forgotten'");
    await idle.query('BEGIN');
    pid = (await idle.query('SELECT pg_current_xact_id(), pg_backend_pid() AS pid')).rows[0].pid;
  });
  afterEach(async () => {
    await idle.end();
    await stage.cleanUp();
  });

  const requireReason = (reader: Service) =>
    waitFor(
      'the session that the start waits for',
      async () => {
        const { status, body } = await reader.ready();
        const { reason } = body as { reason?: string };
        return status === 503 && reason?.includes(`pid ${pid} (forgotten) of database postgres, idle in transaction`);
      },
      { deadlineMs: 30_000 },
    );

  it.each(['stopped', 'killed'])(
    'names the transaction that its slot waits for, %s and started again, and goes on once that has ended',
    async (how) => {
      const first = await stage.startReader();
      await requireReason(first);
      if (how === 'stopped') await first.stop();
      else await first.kill();
      const second = await stage.startReader();
      await requireReason(second);
      await idle.query('ROLLBACK');
      await second.waitForLog('reader.streaming', { deadlineMs: 30_000 });
      await stage.load.backlog({ first: 0, count: 10 });
      await stage.requireClean();
    },
  );
});
