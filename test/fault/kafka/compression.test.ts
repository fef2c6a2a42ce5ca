// compression.type of every topic changed under the running pipeline, through all codecs and back: reader (checkpoint and
// tails), sinks, audit and replay go on. And a batch in the live topic that expands without end: the sink halts by name.

import { CompressionTypes } from 'kafkajs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createKafkaClient } from '#kafka/client.ts';
import { plainServers } from '#kafka/servers.ts';
import { silentLogger, withKafkaAdmin } from '../../support/kafka/admin.ts';
import { createDisasterStage, type DisasterStage, slow } from '../../support/stack/disaster-stage.ts';
import { waitFor } from '../../support/wait.ts';

const TOPIC_RESOURCE = 2;

describe('topics that the broker compresses', () => {
  let stage: DisasterStage;

  beforeEach(async () => {
    stage = await createDisasterStage('compression');
  });
  afterEach(() => stage.cleanUp());

  const setCompression = async (compressionType: string): Promise<void> => {
    const { env, servers } = stage.environment;
    await withKafkaAdmin(servers.directBrokers, async (admin) => {
      const topics = [env.ORDERS_TOPIC!, env.CHECKPOINT_TOPIC!, env.REPLAY_TOPIC!];
      await waitFor(
        'all topics',
        async () => {
          const there = await admin.listTopics();
          return topics.every((topic) => there.includes(topic));
        },
        slow,
      );
      await admin.alterConfigs({
        validateOnly: false,
        resources: topics.map((name) => ({
          type: TOPIC_RESOURCE,
          name,
          configEntries: [
            { name: 'compression.type', value: compressionType },
            ...(name === env.CHECKPOINT_TOPIC ? [{ name: 'cleanup.policy', value: 'compact' }] : []),
          ],
        })),
      });
    });
  };

  it('changes nothing for reader, sinks, audit and replay, whatever the codec, back and forth', async () => {
    let reader = await stage.startReader({ more: { COMPRESSION: 'gzip' } });
    const sink = await stage.startSink();
    const traffic = stage.startTraffic();
    for (const compressionType of ['zstd', 'snappy', 'lz4', 'gzip', 'uncompressed', 'lz4', 'producer']) {
      const from = stage.nextOrder();
      await setCompression(compressionType);
      await waitFor('more orders', async () => stage.nextOrder() >= from + 10, slow);
      if (compressionType === 'gzip' || compressionType === 'uncompressed') continue;
      // A start reads the checkpoint and the ends of the live topic, in the codec of now.
      await reader.stop();
      reader = await stage.startReader();
    }
    await traffic.stop();
    await stage.waitApplied();
    await stage.requireWhole();
    await stage.run('replay', ['--from-lsn', '0/1', '--source', 'kafka', '--mode', 'reapply', '--yes']);
    await stage.requireWhole();
    expect(sink.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
  }, 300_000);

  it('halts the sink by name at a batch that expands without end, with everything before it applied', async () => {
    await stage.startReader();
    const sink = await stage.startSink();
    const traffic = stage.startTraffic();
    await waitFor('some orders', async () => stage.nextOrder() >= 10, slow);
    await traffic.stop();
    await stage.waitApplied();
    const { env, servers } = stage.environment;
    const stranger = createKafkaClient({
      kafka: plainServers(servers.directBrokers.split(',')),
      clientId: 'stranger',
      logger: silentLogger,
    }).producer({ createPartitioner: () => () => 0 });
    await stranger.connect();
    const messages = [{ value: Buffer.alloc(200 * 1024 * 1024) }];
    await stranger.send({ topic: env.ORDERS_TOPIC, messages, compression: CompressionTypes.GZIP });
    await stranger.disconnect();
    const halted = await stage.waitHalted(sink, 'BATCH_TOO_LARGE');
    expect(halted.msg).toContain('MAX_EXPANDED_BATCH_BYTES');
    expect(halted.details).toMatchObject({ topic: env.ORDERS_TOPIC, partition: '0' });
    // It goes on serving carts, in the memory that it has.
    expect((await fetch(`${sink.url}/carts/ann`)).status).toBe(200);
  });
});
