// GET /operations/carts of a running sink: what is parked, halted and proved, with the command for each; and that who asks never
// waits long, and never holds the consumer up.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterEach, expect, test } from 'vitest';
import { type CartsStatus, cartsStatus } from '#schemas/carts-status.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createSinkStage, type SinkStage } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

const users = ['ada', 'bob', 'eve'];
let stage: SinkStage;
afterEach(() => stage.cleanUp());

async function start(label: string): Promise<Service> {
  stage = await createSinkStage(label);
  await stage.createTopics();
  const sink = await stage.startSink();
  await stage.fillCarts(users);
  await stage.publish(users);
  await stage.waitDrained();
  return sink;
}

async function readStatus(sink: Service): Promise<CartsStatus> {
  const answer = await fetch(`${sink.url}/operations/carts`);
  expect(answer.status).toBe(200);
  return cartsStatus.parse(await answer.json());
}

test('shows offsets, what is parked, halted, replayed and proved, each with its command', async () => {
  const sink = await start('carts_status');
  const at = '2026-11-28T12:00:00.000Z';
  const run = randomUUID();
  await stage.query(`INSERT INTO verdicts VALUES ('audit', $1, '{"orders":"3","differences":"0","verdict":"agree"}')`, [
    at,
  ]);
  await stage.query(
    `INSERT INTO replay_runs (run_id, mode, source, rule_version, plan) VALUES ($1, 'repair', 'kafka', 1, '{}')`,
    [run],
  );
  const unknownSchema = Buffer.concat([Buffer.from([0xc3, 1]), Buffer.alloc(8, 7), Buffer.from('x')]);
  await stage.publishRaw([
    { partition: 1, key: Buffer.from('ada'), value: Buffer.from('secret payload') },
    { partition: 2, key: Buffer.from('bob'), value: unknownSchema },
  ]);
  const status = await waitFor('the partition to halt and the record to be parked', async () => {
    const found = await readStatus(sink);
    return found.parked.count === 1 && found.haltedPartitions.length === 1 ? found : undefined;
  });

  expect(status.partitions.filter(({ topic }) => topic === stage.topic)).toHaveLength(6);
  const stored = await stage.storedOffsets();
  for (const { topic, partition, nextOffset, ownerEpoch } of status.partitions) {
    const row = stored.find((one) => one.topic === topic && one.partition === partition)!;
    expect([nextOffset, ownerEpoch]).toEqual([String(row.nextOffset), String(row.ownerEpoch)]);
  }
  expect(status.partitions.some(({ position }) => position !== null)).toBe(true);
  const [parked] = status.parked.newest;
  expect(parked).toMatchObject({ topic: stage.topic, partition: 1, command: `npm run parked -- show ${parked!.id}` });
  const [halted] = status.haltedPartitions;
  expect(halted).toMatchObject({ code: 'UNKNOWN_SCHEMA', topic: stage.topic, partition: 2 });
  expect(halted!.command).toBe(`npm run adopt -- sink --park '${stage.topic}[2]@${halted!.offset}'`);
  expect(status.replayRuns).toEqual([
    expect.objectContaining({ run, state: 'publishing', applied: '0', command: `npm run replay -- resume ${run}` }),
  ]);
  expect(status.lastAudit).toEqual({ at, orders: '3', differences: '0', verdict: 'agree' });
  expect(status.lastReplay).toBeNull();
  expect(JSON.stringify(status)).not.toMatch(/secret|ada|bob/);
});

test('answers within its second while the database makes it wait, and without verdicts where they are missing', async () => {
  const sink = await start('carts_status_late');
  const other = new pg.Client({ connectionString: stage.environment.env.CART_DATABASE_URL });
  await other.connect();
  try {
    await other.query('BEGIN; LOCK TABLE replay_runs IN ACCESS EXCLUSIVE MODE');
    const begun = performance.now();
    const answers = await Promise.all(users.map(() => fetch(`${sink.url}/operations/carts`)));
    expect(performance.now() - begun).toBeLessThan(3_000);
    expect(answers.map(({ status }) => status)).toEqual([503, 503, 503]);
    await stage.publish(users);
    await stage.waitDrained();
  } finally {
    await other.end();
  }
  await stage.query('DROP TABLE verdicts');
  await waitFor('the status', async () => (await fetch(`${sink.url}/operations/carts`)).ok);
  expect(await readStatus(sink)).toMatchObject({ lastAudit: null, lastReplay: null });
  expect(sink.logs.filter(({ event }) => event === 'sink.verdicts-unreadable')).toHaveLength(1);
});
