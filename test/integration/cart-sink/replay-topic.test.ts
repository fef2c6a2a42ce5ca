// The running sink and the replay topic: runs are applied and summed beside the live topic, one under another version of
// the rule waits without holding anything else up, and a wrong rule that was deployed is put right by a reapply.
import { randomUUID } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import type { ReplayStamp } from '#schemas/replay/records.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import { encodeOrderPlaced } from '../../support/examples/encode-order-placed.ts';
import { createEvent, createStamp, tallyEvents } from '../../support/examples/sink-events.ts';
import type { Service } from '../../support/process/service-process.ts';
import { WRONG_RULE_VERSION } from '../../support/process/wrong-rule.ts';
import { createSinkStage, fullCart, type SinkStage, sumOf } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

const users = Array.from({ length: 12 }, (_, index) => `user-${index}`);
let stage: SinkStage;

afterEach(() => stage.cleanUp());

const readSums = async ({ runId }: ReplayStamp) => {
  const [sums] = await stage.query<Record<string, string | null>>(
    `SELECT sum(applied) AS applied, sum(already) AS already, sum(changed) AS changed, sum(parked) AS parked,
       mod(sum(checksum), 18446744073709551616) AS checksum, sum(end_count) AS end_count,
       count(*) - count(ended_at) AS open, count(*) AS partitions
     FROM replay_results WHERE run_id = $1`,
    [runId],
  );
  return sums!;
};

const waitEnded = (stamp: ReplayStamp, orders: number) =>
  waitFor(
    'the run to end with all of its orders',
    async () => {
      const sums = await readSums(stamp);
      const counted = ['applied', 'already', 'changed', 'parked'].reduce((sum, name) => sum + Number(sums[name]), 0);
      return sums.open === '0' && Number(sums.end_count) === orders && counted === orders;
    },
    { deadlineMs: 20_000, everyMs: 100 },
  );

const held = (sink: Service) => sumOf(sink, 'tillstream_sink_replay_held');
const heldLogs = (sink: Service) => sink.logs.filter(({ event }) => event === 'sink.replay-held');

async function storeRun({ runId, mode, ruleVersion }: ReplayStamp, state: string): Promise<void> {
  await stage.query(
    `INSERT INTO replay_runs (run_id, mode, source, rule_version, plan, state) VALUES ($1, $2, 'kafka', $3, '{}', $4)
     ON CONFLICT (run_id) DO UPDATE SET state = excluded.state`,
    [runId, mode, ruleVersion, state],
  );
}

test('a run is applied, summed and ended; what is not the tool’s is parked', async () => {
  stage = await createSinkStage('sink_replay');
  await stage.createTopics();
  const sink = await stage.startSink();
  await stage.fillCarts(users);
  const events = await stage.publish(users);
  await stage.waitDrained();
  const lost = createEvent({ userId: 'user-3' });
  const run = createStamp({ mode: 'reapply' });
  await stage.publishReplay(events.slice(0, 6), run);
  await stage.publishReplay([...events.slice(6), lost], run, { end: true });
  const foreign = {
    partition: 1,
    key: Buffer.from('user-1'),
    value: encodeOrderPlaced(createEvent({ userId: 'user-1' })),
  };
  await stage.publishRaw([foreign], { topic: stage.replayTopic });
  await waitFor('the parked record', async () => (await stage.query('SELECT FROM parked_events')).length > 0);
  await waitFor('all orders', async () => Number((await readSums(run)).already) === users.length);
  const sums = await readSums(run);
  expect(sums).toMatchObject({ applied: '1', already: '12', changed: '0', parked: '0' });
  expect(sums.checksum).toBe(String(tallyEvents([...events, lost]).checksum));
  expect(await stage.query('SELECT topic, partition, value, reason FROM parked_events')).toEqual([
    { topic: stage.replayTopic, partition: 1, value: foreign.value, reason: expect.stringContaining('replay tool') },
  ]);
  const taken = await stage.query('SELECT user_id, quantity FROM cart_lines WHERE quantity <> $1', [fullCart - 1]);
  expect(taken).toEqual([{ user_id: 'user-3', quantity: fullCart - 2 }]);
  const metrics = await sink.metrics();
  expect(metrics.get('tillstream_sink_replay_orders_total{outcome="applied"}')).toBe(1);
  expect(metrics.get('tillstream_sink_replay_orders_total{outcome="already"}')).toBe(12);
  expect(await held(sink)).toBe(0);
});

test('a run under another rule waits until it is cancelled, and the live topic goes on', {
  timeout: 60_000,
}, async () => {
  stage = await createSinkStage('sink_held');
  await stage.createTopics();
  const sink = await stage.startSink();
  await stage.fillCarts(users);
  const events = await stage.publish(users);
  await stage.waitDrained();
  const other = createStamp({ mode: 'reapply', ruleVersion: RULE_VERSION + 1 });
  const run = createStamp({ mode: 'repair' });
  await storeRun(other, 'publishing');
  await stage.publishReplay(events, other, { end: true });
  await stage.publishReplay(events, run, { end: true });
  await waitFor('the partitions to be held', async () => (await held(sink)) > 1);
  const { body } = await sink.ready();
  expect((body.partitions as { held?: unknown }[]).flatMap((partition) => partition.held ?? [])).toContainEqual({
    runId: other.runId,
    ruleVersion: RULE_VERSION + 1,
    ofThisSink: RULE_VERSION,
    why: 'other-rule',
    remedy: expect.stringContaining(`npm run replay -- cancel ${other.runId}`),
  });

  // Through several looks: nothing is taken, and the members and their live partitions stay.
  const looks = await sumOf(sink, 'tillstream_sink_rebalances_total');
  for (let round = 0; round < 3; round += 1) {
    await stage.publish(users);
    await stage.waitDrained(5_000);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
  }
  expect(await held(sink)).toBeGreaterThan(1);
  expect(await sumOf(sink, 'tillstream_sink_rebalances_total')).toBe(looks);
  expect(await readSums(run)).toMatchObject({ partitions: '0' });
  expect(heldLogs(sink)).toHaveLength(1);
  expect(heldLogs(sink)[0]).toMatchObject({ ruleVersion: RULE_VERSION + 1, sinkRuleVersion: RULE_VERSION });

  await storeRun(other, 'cancelled');
  await waitEnded(run, 12);
  expect(await readSums(run)).toMatchObject({ already: '12', applied: '0' });
  expect(await readSums(other)).toMatchObject({ partitions: '0' });
  expect(await held(sink)).toBe(0);
  await stage.requireAppliedOnce();
});

test('a wrong rule that was deployed is put right by a reapply, as soon as the right one is', {
  timeout: 60_000,
}, async () => {
  stage = await createSinkStage('sink_wrong_rule');
  await stage.createTopics();
  const wrong = await stage.startSink({ wrongRule: true });
  await stage.fillCarts(users);
  const events = [...(await stage.publish(users)), ...(await stage.publish(users))];
  await stage.waitDrained();
  await expect(stage.requireAppliedOnce()).rejects.toThrow('4 pieces were taken for 2 orders');
  expect(await stage.query('SELECT DISTINCT rule_version FROM applied_orders')).toEqual([
    { rule_version: WRONG_RULE_VERSION },
  ]);

  const run = createStamp({ mode: 'reapply' });
  await storeRun(run, 'publishing');
  await stage.publishReplay(events, run, { end: true });
  await waitFor('the wrong sink to leave the run alone', async () => (await held(wrong)) > 0);
  await wrong.stop();
  await stage.startSink();
  await waitEnded(run, 24);
  expect(await readSums(run)).toMatchObject({ applied: '0', already: '0', changed: '24' });
  await stage.requireAppliedOnce();
  const again = { ...run, runId: randomUUID() };
  await stage.publishReplay(events, again, { end: true });
  await waitEnded(again, 24);
  expect(await readSums(again)).toMatchObject({ already: '24', changed: '0' });
  await stage.requireAppliedOnce();
});
