// The live topic is lost while everything runs and orders are being placed: halt → adopt begins a new generation in an
// empty topic and resets the sinks' offsets of it, the ledger is kept → replay → the databases agree.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withKafkaAdmin } from '../../support/kafka/admin.ts';
import { createDisasterStage, type DisasterStage, slow } from '../../support/stack/disaster-stage.ts';
import { waitFor } from '../../support/wait.ts';

describe('a lost live topic', { timeout: 300_000 }, () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('lost_topic');
  });
  afterEach(() => stage.cleanUp());

  const deleteTopic = () =>
    withKafkaAdmin(stage.environment.servers.directBrokers, async (admin) => {
      const { ORDERS_TOPIC } = stage.environment.env;
      await admin.deleteTopics({ topics: [ORDERS_TOPIC] });
      await waitFor('the topic to be gone', async () => !(await admin.listTopics()).includes(ORDERS_TOPIC));
    });

  it.each<[string, Record<string, string>, RegExp]>([
    ['from the WAL', {}, /npm run replay -- --from-lsn .*/],
    ['from the tables where no WAL is kept', { REPLAY_WINDOW_BYTES: '0' }, /npm run replay -- --source tables/],
  ])('costs no order: a new generation begins, and a replay %s gives the rest', async (_, window, command) => {
    const sink = await stage.startSink();
    const reader = await stage.startStreaming({ more: window });
    const traffic = stage.startTraffic();
    await waitFor('some orders', async () => (await stage.carts('SELECT FROM applied_orders')).length > 100, slow);
    await deleteTopic();
    const { msg } = await stage.waitHalted(reader, 'LIVE_TOPIC_MISSING');
    expect(msg).toContain('npm run adopt -- reader');

    const adopted = await stage.run('adopt', ['reader', '--yes']);
    expect(adopted.stdout).toContain('begin generation 2');
    await reader.stop();
    await sink.stop();
    await stage.startStreaming({ more: window });
    await stage.startSink();
    await stage.run('replay', [...stage.replayCommand(adopted, command), '--yes']);
    await traffic.stop();
    await stage.requireWhole();
    const generations = await stage.carts(
      `SELECT DISTINCT generation FROM consumer_offsets WHERE topic = '${stage.environment.env.ORDERS_TOPIC}'`,
    );
    expect(generations).toEqual([{ generation: 2 }]);
  });
});
