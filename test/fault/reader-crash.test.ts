// The reader killed at every point where what Kafka has and what Postgres was told differ, with orders flowing, and its
// acknowledgements lost on the way to Postgres; after the next start nothing is missing and nothing is there twice (fault
// class A).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withServer } from '../support/environment.ts';
import { readEvent } from '../support/oracle-event.ts';
import { type Outcome, readTopic } from '../support/oracle-kafka.ts';
import { createReaderStage, type ReaderStage } from '../support/reader-stage.ts';
import { readPublished } from '../support/require-halted.ts';
import { createTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { waitFor } from '../support/wait.ts';

describe('a reader that is killed', () => {
  let stage: ReaderStage;
  beforeEach(async () => {
    stage = await createReaderStage('reader_crash');
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

  it('loses no transaction whose commit record begins where the last acknowledged one ended', async () => {
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
  let stage: ReaderStage;
  let proxy: TcpProxy;
  beforeEach(async () => {
    stage = await createReaderStage('lost_acks');
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
