// The reader killed at every point where what Kafka has and what Postgres was told differ, with orders flowing, and its
// acknowledgements lost on the way to Postgres; after the next start nothing is missing and nothing is there twice (fault
// class A).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatLsn, toLsn } from '#schemas/lsn.ts';
import { createTcpProxy, type TcpProxy } from '../../support/network/tcp-proxy.ts';
import { readEvent } from '../../support/oracle/event.ts';
import { type Outcome, readTopic } from '../../support/oracle/read-topic.ts';
import { recordStream } from '../../support/postgres/source-stream.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { readPublished } from '../../support/stack/require-halted.ts';
import { waitPaused } from '../../support/stack/start-services.ts';
import { waitFor } from '../../support/wait.ts';

describe('a reader that is killed', () => {
  let stage: PipelineStage;
  beforeEach(async () => {
    stage = await createPipelineStage('reader_crash');
  });
  afterEach(() => stage.cleanUp());

  /** The orders of the live topic's events with this outcome, in the topic's order. */
  const readOrders = async (wanted: Outcome): Promise<string[]> => {
    const { env, servers } = stage.environment;
    const brokers = servers.directBrokers.split(',');
    const live = await readTopic({ brokers, topic: env.ORDERS_TOPIC, deadlineMs: 30_000 });
    return live
      .flatMap(({ records }) => records.filter(({ outcome }) => outcome === wanted))
      .map(({ value }) => readEvent(value)!.orderId);
  };

  /**
   * Commits pairs of orders until nothing lies between the two commit records of the last pair, which on a server that
   * others use too takes more than one. Returns that pair's second, with the first, and how many orders there are.
   */
  const commitAdjacent = async () => {
    const { ORDER_DATABASE_URL: url, PUBLICATION_NAME: publicationName, SLOT_NAME } = stage.environment.env;
    const slotName = `${SLOT_NAME}_watch`;
    await withServer(url, (client) =>
      client.query(`SELECT pg_create_logical_replication_slot('${slotName}', 'pgoutput')`),
    );
    const watch = await recordStream({ url, slotName, publicationName });
    try {
      return await waitFor(
        'two adjacent commits',
        async () => {
          const first = watch.commits().length;
          await stage.load.commitSideBySide({ first, count: 2 });
          const [before, last] = (await watch.waitForCommits(first + 2)).slice(-2);
          return before!.endLsn === last!.commitLsn && { before: before!, last: last!, count: first + 2 };
        },
        { deadlineMs: 60_000 },
      );
    } finally {
      await watch.stream.close();
    }
  };

  const crashPoints = [
    'reader.before-send=kill:3',
    'reader.before-commit=kill:3',
    'reader.after-publish=kill:3',
    'reader.before-acknowledge=kill:3',
    'reader.after-acknowledge=kill:3',
  ];
  it.each(crashPoints)('loses and repeats nothing with %s while orders flow', async (failpoints) => {
    const first = await stage.startStreaming({ failpoints });
    const load = stage.load.pace({ first: 0, count: 150, ordersPerSecond: 100 });
    expect((await first.exited).signal).toBe('SIGKILL');
    await stage.startStreaming();
    await load;
    await stage.requireClean();
  });

  it('publishes the transaction whose commit record begins exactly where the last acknowledged one ended', async () => {
    await (await stage.startStreaming()).stop();
    const { env } = stage.environment;
    const { before: acknowledged, last, count } = await commitAdjacent();
    expect(formatLsn(last.commitLsn)).toBe(formatLsn(acknowledged.endLsn));
    // Each transaction is a group of its own, so that the last is still to be sent when all others are acknowledged.
    const reader = await stage.startStreaming({
      failpoints: `reader.before-send=pause:${count}`,
      more: { GROUP_MAX_ORDERS: '1' },
    });
    await waitPaused(reader, 'reader.before-send');
    const confirmed = () =>
      withServer(env.ORDER_DATABASE_URL, async (client) => {
        const text = 'SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1';
        return (await client.query<{ lsn: string }>(text, [env.SLOT_NAME])).rows[0]!.lsn;
      });
    await waitFor('the acknowledgement', async () => (await confirmed()) === formatLsn(acknowledged.endLsn));
    await reader.kill();
    expect(await confirmed()).toBe(formatLsn(acknowledged.endLsn));
    const before = await readPublished(stage);
    expect(before.length).toBe(count - 1);
    await stage.startStreaming();
    await stage.requireClean();
    const after = await readPublished(stage);
    expect(after.length).toBe(count);
    expect(formatLsn(toLsn(after.at(-1)!.commitLsn))).toBe(formatLsn(last.commitLsn));
  });

  it('loses and repeats nothing while sessions commit side by side, killed right behind an acknowledgement', async () => {
    const first = await stage.startStreaming({ failpoints: 'reader.after-acknowledge=kill:4' });
    const load = stage.load.commitSideBySide({ first: 0, count: 16 });
    const more = stage.load.commitSideBySide({ first: 16, count: 16 });
    expect((await first.exited).signal).toBe('SIGKILL');
    await Promise.all([load, more]);
    for (let round = 2; round < 5; round++) {
      const reader = await stage.startStreaming();
      await stage.load.commitSideBySide({ first: round * 16, count: 16 });
      await stage.oracle.waitUntilDrained(20_000);
      await reader.kill();
    }
    await stage.startStreaming();
    await stage.requireClean();
  });

  it.each(['insertTogether', 'copyTogether'] as const)(
    'publishes a transaction of many orders whole (%s), killed between two sends of its Kafka transaction',
    async (how) => {
      const more = { GROUP_MAX_ORDERS: '100', SPILL_BYTES: '65536' };
      const first = await stage.startStreaming({ failpoints: 'reader.mid-transaction=kill:5', more });
      const loads = (async () => {
        await stage.load[how]({ first: 0, count: 1_000 });
        await stage.load.backlog({ first: 1_000, count: 200 });
      })();
      expect((await first.exited).signal).toBe('SIGKILL');
      await loads;
      // Five sends had arrived, none of them to be seen: the small transactions come behind the big one.
      expect((await readOrders('committed')).length).toBe(0);
      const sent = await readOrders('open');
      expect(sent.length).toBe(500);
      await stage.startStreaming({ more });
      await stage.requireClean();
      expect(await readOrders('open')).toEqual([]);
      expect(await readOrders('aborted')).toEqual(sent);
      const committed = new Set(await readOrders('committed'));
      expect(committed.size).toBe(1_200);
      expect(sent.filter((orderId) => !committed.has(orderId))).toEqual([]);
    },
  );

  it('publishes nothing of a savepoint that was rolled back', async () => {
    await stage.startStreaming();
    await stage.load.insertWithSavepoints(0);
    await stage.load.insertWithSavepoints(10);
    await stage.requireClean();
  });
});

/** Standby status updates in `chunk` (CopyData `d` with payload `r`), which are all that a reader sends while it streams. */
function readStatuses(chunk: Buffer): bigint[] | undefined {
  const flushed: bigint[] = [];
  for (let at = 0; at < chunk.length; at += 1 + chunk.readInt32BE(at + 1)) {
    if (chunk.length < at + 39 || chunk[at] !== 0x64 || chunk[at + 5] !== 0x72) return undefined;
    flushed.push(chunk.readBigUInt64BE(at + 14));
  }
  return flushed;
}

describe('acknowledgements that never reach Postgres', () => {
  let stage: PipelineStage;
  let proxy: TcpProxy;
  beforeEach(async () => {
    stage = await createPipelineStage('lost_acks');
    proxy = await createTcpProxy({ targetPort: Number(new URL(stage.environment.env.ORDER_DATABASE_URL).port) });
  });
  afterEach(async () => {
    await stage.cleanUp();
    proxy.close();
  });

  const confirmed = (): Promise<bigint> =>
    withServer(stage.environment.env.ORDER_DATABASE_URL, async (client) => {
      const { rows } = await client.query<{ lsn: string }>(
        `SELECT confirmed_flush_lsn - '0/0'::pg_lsn AS lsn FROM pg_replication_slots WHERE slot_name = $1`,
        [stage.environment.env.SLOT_NAME],
      );
      return BigInt(rows[0]!.lsn);
    });

  it.each(['the connection is cut', 'the reader is killed'])(
    'are of no harm when %s after them: nothing is published twice or never',
    async (how) => {
      const url = new URL(stage.environment.env.ORDER_DATABASE_URL);
      url.port = String(proxy.port);
      // Long enough for Postgres not to end the silent connection before we do.
      const more = { ORDER_DATABASE_URL: url.href, WAL_SENDER_TIMEOUT_MS: '20000' };
      const reader = await stage.startStreaming({ more });
      await stage.load.pace({ first: 0, count: 20, ordersPerSecond: 100 });
      await stage.requireClean();
      let acknowledged = 0n;
      proxy.onClientData((data) => {
        const statuses = readStatuses(data);
        if (statuses === undefined) return data;
        for (const flushed of statuses) if (flushed > acknowledged) acknowledged = flushed;
        return Buffer.alloc(0);
      });
      const before = await confirmed();
      await stage.load.pace({ first: 20, count: 100, ordersPerSecond: 100 });
      const last = await waitFor('all to be published', async () => {
        const events = await readPublished(stage);
        return events.length === 120 && events.at(-1)!.commitLsn;
      });
      await waitFor('the last one to be acknowledged', () => acknowledged > last);
      expect(await confirmed()).toBe(before);
      if (how === 'the connection is cut') proxy.cut();
      else await reader.kill();
      proxy.onClientData(undefined);
      const from = how === 'the connection is cut' ? reader.logs.length : 0;
      const again = how === 'the connection is cut' ? reader : await stage.startReader({ more });
      await again.waitForLog('reader.streaming', { deadlineMs: 30_000, from });
      await stage.load.pace({ first: 120, count: 50, ordersPerSecond: 100 });
      await stage.requireClean();
      expect(await readPublished(stage)).toHaveLength(170);
      await waitFor('Postgres to be told at last', async () => (await confirmed()) > last);
    },
  );
});
