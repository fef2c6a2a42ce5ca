// A topic that a stranger deletes, creates again and fills beyond all that was read, so that neither offsets nor positions
// nor the generation show it: only Kafka's id of the topic does (I11). Each case halts by name, and the sinks' cases go on to
// whole carts by the command that the halt names.

import { afterEach, describe, expect, it } from 'vitest';
import { plainServers } from '#kafka/servers.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import { createKafkaClient } from '../../../kafka/client.ts';
import type { ReplayStamp } from '../../../schemas/replay/records.ts';
import { silentLogger, withKafkaAdmin } from '../../support/kafka/admin.ts';
import { readTopic } from '../../support/oracle/read-topic.ts';
import { runTool } from '../../support/process/tool-process.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { readHalt, readPublished, requireHalted, requireNothingMore } from '../../support/stack/require-halted.ts';
import { createSinkStage, type SinkStage } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

const partitionCount = 6;

async function createAgain(directBrokers: string, topic: string): Promise<void> {
  await withKafkaAdmin(directBrokers, async (admin) => {
    await admin.deleteTopics({ topics: [topic] });
    const numPartitions = partitionCount;
    await waitFor('the topic to be gone and back', () => admin.createTopics({ topics: [{ topic, numPartitions }] }));
    await waitFor('its leaders', async () => (await admin.fetchTopicOffsets(topic)).length === numPartitions);
  });
}

describe('a sink whose topic was created again, and filled with the same generation,', () => {
  const users = Array.from({ length: 24 }, (_, index) => `user-${index}`);
  let stage: SinkStage;
  afterEach(() => stage.cleanUp());

  const start = async () => {
    stage = await createSinkStage('topic_ids');
    await stage.createTopics();
    const sink = await stage.startSink();
    await stage.fillCarts(users);
    for (let round = 0; round < 3; round += 1) await stage.publish(users);
    await stage.waitDrained();
    return sink;
  };
  const adopt = async () => {
    const { code, stdout, stderr } = await runTool('adopt', ['sink', '--yes'], stage.environment.env);
    expect(code, stderr).toBe(0);
    return stdout;
  };
  const topicIds = async () => {
    const rows = await stage.query<{ topic_id: string }>(
      'SELECT DISTINCT topic_id::text FROM consumer_offsets WHERE topic = $1',
      [stage.topic],
    );
    return rows.map(({ topic_id }) => topic_id);
  };

  it.each(['down', 'running'])('halts where it was %s, and applies every order of it once after adopt', async (how) => {
    const first = await start();
    const before = await topicIds();
    if (how === 'down') await first.stop();
    else first.pause();
    await createAgain(stage.environment.servers.directBrokers, stage.topic);
    for (let round = 0; round < 6; round += 1) await stage.publish(users);
    const sink = how === 'down' ? await stage.startSink() : first;
    if (how === 'running') sink.resume();
    const { details, message } = await readHalt(sink, 'TOPIC_RECREATED');
    expect(message).toContain('npm run adopt -- sink');
    expect(before).toEqual([details.expectedTopicId]);
    await sink.stop();

    expect(await adopt()).toContain('TOPIC_RECREATED -> moves to 0, position cleared');
    expect(await topicIds()).toEqual([details.foundTopicId]);
    await stage.startSink();
    await stage.waitDrained(60_000);
    await stage.requireAppliedOnce();
  });

  it('halts where it is the replay topic', async () => {
    const first = await start();
    const stamp: ReplayStamp = {
      runId: '7d1c1f0e-3a0e-4c5c-8a51-2f4a1b6f0d11',
      mode: 'repair',
      ruleVersion: RULE_VERSION,
    };
    const events = await stage.publish(users);
    await stage.publishReplay(events, stamp);
    await stage.waitDrained();
    const isRead = async () =>
      (await stage.storedOffsets()).some((row) => row.topic === stage.replayTopic && row.nextOffset > 3n);
    await waitFor('the replay to be read', isRead);
    await first.stop();
    await createAgain(stage.environment.servers.directBrokers, stage.replayTopic);
    for (let round = 0; round < 3; round += 1) await stage.publishReplay(events, stamp);
    const sink = await stage.startSink();
    await readHalt(sink, 'TOPIC_RECREATED');
    await sink.stop();
    await adopt();
    await stage.startSink();
    await stage.publish(users);
    await stage.waitDrained();
    await stage.requireAppliedOnce();
  });

  it('halts where the id is not known: the orders before its offset are others', async () => {
    const first = await start();
    await first.stop();
    await stage.query('UPDATE consumer_offsets SET topic_id = NULL');
    await createAgain(stage.environment.servers.directBrokers, stage.topic);
    for (let round = 0; round < 6; round += 1) await stage.publish(users);
    const sink = await stage.startSink();
    const { details, message } = await readHalt(sink, 'OFFSET_WENT_BACK');
    expect(message).toContain('npm run adopt -- sink');
    expect(BigInt(details.fetchedOffset!)).toBeLessThan(BigInt(details.expectedOffset!));
    await sink.stop();
    expect(await adopt()).toContain('OFFSET_WENT_BACK -> moves to 0, position cleared');
    await stage.startSink();
    await stage.waitDrained(60_000);
    await stage.requireAppliedOnce();
  });

  it('learns the id of a topic that an earlier version has consumed, once and with a warning', async () => {
    await (await start()).stop();
    await stage.query('UPDATE consumer_offsets SET topic_id = NULL');
    const sink = await stage.startSink();
    const { topicId } = await sink.waitForLog('sink.topic-id-learnt');
    await waitFor('the id to be stored', async () => (await topicIds())[0] === topicId);
    await sink.stop();
    const again = await stage.startSink();
    await stage.publish(users);
    await stage.waitDrained();
    await stage.requireAppliedOnce();
    expect(again.logs.filter(({ event }) => event === 'sink.topic-id-learnt')).toEqual([]);
  });
});

describe('a reader whose live topic was created again, with a copy of all events in it,', () => {
  let stage: PipelineStage;
  afterEach(() => stage.cleanUp());

  /** Until every partition ends behind the old one, with the event that was published last. */
  const createCopy = async (): Promise<void> => {
    const { ORDERS_TOPIC: topic } = stage.environment.env;
    const { directBrokers } = stage.environment.servers;
    const logs = await readTopic({ brokers: directBrokers.split(','), topic, deadlineMs: 30_000 });
    await createAgain(directBrokers, topic);
    const kafka = createKafkaClient({
      kafka: plainServers(directBrokers.split(',')),
      clientId: 'stranger',
      logger: silentLogger,
    });
    const producer = kafka.producer({ allowAutoTopicCreation: false });
    await producer.connect();
    try {
      for (const { partition, highWatermark, records } of logs) {
        const committed = records.filter(({ outcome }) => outcome === 'committed');
        const copy = committed.map(({ key, value }) => ({ partition, key, value }));
        for (let sent = 0; copy.length > 0 && sent <= Number(highWatermark); sent += copy.length) {
          await producer.send({ topic, messages: copy.map((message) => ({ ...message })) as never });
        }
      }
    } finally {
      await producer.disconnect();
    }
  };

  it.each(['down', 'running'])('halts where it was %s, and publishes nothing into it', async (how) => {
    stage = await createPipelineStage('topic_ids');
    const first = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 40 });
    await stage.requireClean();
    if (how === 'down') await first.stop();
    await createCopy();
    const before = await readPublished(stage);
    const reader = how === 'down' ? await stage.startReader() : first;
    await requireHalted(reader, 'LIVE_TOPIC_CHANGED');
    const { message } = await readHalt(reader, 'LIVE_TOPIC_CHANGED');
    expect(message).toContain('a topic with another id');
    await stage.load.backlog({ first: 100, count: 5 });
    await requireNothingMore(stage, before);
  });
});
