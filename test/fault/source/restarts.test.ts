// The orders database restarts with orders coming: fast, immediate, and killed. The reader lets go at once, so that no
// shutdown waits for it, and goes on by itself with nothing lost or repeated (fault class D).
import { afterEach, beforeEach, describe, inject, it } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { shutdownDeadlineMs, WAL_SENDER_TIMEOUT_MS } from '../../support/postgres/shutdown-limits.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';

describe('an orders database that restarts', () => {
  let directory: string;
  let postgres: LocalPostgres;
  let stage: PipelineStage;

  beforeEach(async () => {
    directory = createTestDirectory('restarts');
    postgres = await createLocalPostgres({ directory });
    await postgres.start();
    stage = await createPipelineStage('source_restarts', {
      servers: {
        ...inject('servers'),
        orderServerUrl: postgres.url('postgres'),
      },
    });
  });

  afterEach(async () => {
    try {
      await stage?.cleanUp();
    } finally {
      await postgres.close();
      removeTestDirectory(directory);
    }
  });

  it.each(['fast', 'immediate', 'kill -9'] as const)('loses and repeats no order (%s)', async (mode) => {
    await stage.startStreaming({ more: { WAL_SENDER_TIMEOUT_MS } });
    for (let round = 0; round < 3; round++) {
      await stage.load.backlog({ first: round * 200, count: 200 });
      if (mode === 'kill -9') await postgres.kill();
      else await postgres.stop(mode, { deadlineMs: shutdownDeadlineMs });
      await postgres.start();
    }
    await stage.load.pace({ first: 600, count: 20, ordersPerSecond: 50 });
    await stage.requireClean();
  });
});
