// The servers around the reader go away and come back. Kafka's absence costs one reconnection to Postgres and no slot;
// Postgres can be shut down fast at any moment, the reader idle, busy, or without Kafka (fault classes C, D, G).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLocalKafka, type LocalKafka } from '../../../dev/servers/local-kafka.ts';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { shutdownDeadlineMs, WAL_SENDER_TIMEOUT_MS } from '../../support/postgres/shutdown-limits.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitFor } from '../../support/wait.ts';

describe('a reader whose servers go away', () => {
  let directory: string;
  let kafka: LocalKafka;
  let postgres: LocalPostgres;
  let stage: PipelineStage;

  beforeEach(async () => {
    directory = createTestDirectory('outages');
    kafka = await createLocalKafka({ directory: `${directory}/kafka` });
    postgres = await createLocalPostgres({ directory: `${directory}/postgres` });
    await Promise.all([kafka.start(), postgres.start()]);
    const server = postgres.url('postgres');
    stage = await createPipelineStage('reader_outages', {
      servers: {
        orderServerUrl: server,
        cartServerUrl: server,
        brokers: kafka.bootstrap,
        directBrokers: kafka.directBootstrap,
      },
    });
  });

  afterEach(async () => {
    try {
      await kafka.start(); // a failed test may have left it down, and the topics are to be deleted
      await stage?.cleanUp();
    } finally {
      await Promise.all([kafka.kill(), postgres.close()]);
      removeTestDirectory(directory);
    }
  });

  const connectionsSoFar = (reader: Service): number =>
    reader.logs.filter(({ event }) => event === 'reader.restarting').length;

  const slotHolder = (): Promise<number | null> =>
    withServer(stage.environment.env.ORDER_DATABASE_URL, async (client) => {
      const { rows } = await client.query('SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1', [
        stage.environment.env.SLOT_NAME,
      ]);
      return rows[0]?.active_pid ?? null;
    });

  /**
   * Not while the markers of a commit are being written: the only broker of a cluster forgets them when it starts again
   * (docs/failures.md, "Gotchas"), and what was committed is hidden for ever.
   */
  const killKafka = async (): Promise<void> => {
    await stage.oracle.waitUntilDrained(20_000);
    await kafka.brokers[0]!.kill();
  };

  it('holds the slot while Kafka is away for longer than wal_sender_timeout, and catches up by itself', async () => {
    const reader = await stage.startStreaming({ more: { TRANSACTION_TIMEOUT_MS: '2000' } });
    await stage.load.pace({ first: 0, count: 20, ordersPerSecond: 50 });
    await killKafka();
    await stage.load.backlog({ first: 20, count: 100 });
    // Its producer gives up first, after the transaction timeout, and takes the stream with it: that is the one restart.
    await reader.waitForLog('reader.waiting');
    const holder = await slotHolder();
    expect(holder).not.toBe(null);
    // More than twice wal_sender_timeout, orders coming all the while: the same connection must still be there.
    await stage.load.pace({ first: 120, count: 90, ordersPerSecond: 20 });
    expect(await slotHolder()).toBe(holder);
    await kafka.brokers[0]!.start();
    await stage.requireClean(60_000);
    expect(connectionsSoFar(reader)).toBe(1);
  });

  it('lets an idle Postgres shut down fast, and goes on when it is back', async () => {
    const reader = await stage.startStreaming({ more: { WAL_SENDER_TIMEOUT_MS } });
    await stage.load.pace({ first: 0, count: 20, ordersPerSecond: 50 });
    await stage.oracle.waitUntilDrained(20_000);
    await postgres.stop('fast', { deadlineMs: shutdownDeadlineMs });
    await reader.waitForLog('reader.restarting');
    await postgres.start();
    await stage.load.pace({ first: 20, count: 20, ordersPerSecond: 50 });
    await stage.requireClean();
  });

  it('lets Postgres shut down fast while Kafka is away and orders wait', async () => {
    await stage.startStreaming({ more: { WAL_SENDER_TIMEOUT_MS } });
    await stage.load.pace({ first: 0, count: 20, ordersPerSecond: 50 });
    await killKafka();
    await stage.load.backlog({ first: 20, count: 5_000 });
    await postgres.stop('fast', { deadlineMs: shutdownDeadlineMs });
    await postgres.start();
    // And once more, now that the reader starts anew without Kafka.
    await waitFor('the slot to be held again', slotHolder, { deadlineMs: 30_000 });
    await postgres.stop('fast', { deadlineMs: shutdownDeadlineMs });
    await postgres.start();
    await kafka.brokers[0]!.start();
    await stage.requireClean(60_000);
  });

  it('stops in time, with exit 0 and the slot let go, while Kafka is away and orders wait; its lag was told', async () => {
    // The commit in flight may wait for Kafka for longer than a stop may take.
    const reader = await stage.startStreaming({ more: { TRANSACTION_TIMEOUT_MS: '60000' } });
    await stage.load.pace({ first: 0, count: 20, ordersPerSecond: 50 });
    await killKafka();
    await stage.load.backlog({ first: 20, count: 100 });
    const metric = async (name: string) => (await reader.metrics()).get(name) ?? 0;
    await waitFor('events to be in flight', async () => (await metric('tillstream_reader_in_flight_bytes')) > 0);
    await waitFor('the lag to show', async () => {
      const lags = ['lag_bytes', 'lag_seconds', 'retained_wal_bytes'].map((name) =>
        metric(`tillstream_reader_${name}`),
      );
      return (await Promise.all(lags)).every((lag) => lag > 0);
    });
    expect((await reader.stop({ deadlineMs: 9_500 })).code).toBe(0);
    expect(await slotHolder()).toBe(null);
    await kafka.brokers[0]!.start();
    await stage.startStreaming();
    await stage.requireClean(60_000);
  });
});
