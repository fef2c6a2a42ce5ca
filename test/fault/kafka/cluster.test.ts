// Three brokers under the whole pipeline: kill -9 of the leader between send and commit, of the transaction coordinator,
// of the group's coordinator, of every broker one after another and of all at once, and a rolling restart, with orders
// coming all the while. Nothing is lost, repeated or torn, and nobody has to do anything (I1 to I7, I8; faults C).
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { createLocalKafka, type LocalKafka } from '../../../dev/servers/local-kafka.ts';
import { withKafkaAdmin } from '../../support/kafka/admin.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { waitPaused } from '../../support/stack/start-services.ts';
import { waitFor } from '../../support/wait.ts';

/** As dev/servers/local-kafka.ts sets them for a cluster. */
const coordinatorPartitions = 10;

/** By Java's String.hashCode, as Kafka places transactional ids and groups. */
function coordinatorPartition(name: string): number {
  let hash = 0;
  for (const character of name) hash = (Math.imul(hash, 31) + character.charCodeAt(0)) | 0;
  return (hash & 0x7fffffff) % coordinatorPartitions;
}

/** Three brokers, two services and a load on whatever cores there are. */
const longMs = 300_000;

describe('of three brokers', { timeout: longMs }, () => {
  let directory: string;
  let kafka: LocalKafka;
  let stage: PipelineStage;

  beforeAll(async () => {
    directory = createTestDirectory('kafka-cluster');
    kafka = await createLocalKafka({ directory, nodes: 3 });
    await kafka.start();
  });
  afterAll(async () => {
    await kafka?.kill();
    removeTestDirectory(directory);
  });
  beforeEach(async () => {
    const { orderServerUrl, cartServerUrl } = inject('servers');
    const { bootstrap: brokers, directBootstrap: directBrokers } = kafka;
    stage = await createPipelineStage('cluster', {
      carts: true,
      servers: { orderServerUrl, cartServerUrl, brokers, directBrokers },
    });
  });
  afterEach(async () => {
    await kafka.start(); // the fallen one, so that the topics can be deleted
    await stage.cleanUp();
  });

  const leaderOf = async (topic: string, partition: number): Promise<number> => {
    const metadata = await withKafkaAdmin(kafka.directBootstrap, (admin) =>
      admin.fetchTopicMetadata({ topics: [topic] }),
    );
    return metadata.topics[0]!.partitions.find(({ partitionId }) => partitionId === partition)!.leader;
  };
  const broker = (id: number) => kafka.brokers.find((one) => one.id === id)!;
  const waitInSync = (): Promise<true> =>
    waitFor(
      'all replicas to be in sync',
      () =>
        withKafkaAdmin(kafka.directBootstrap, async (admin) => {
          const { topics } = await admin.fetchTopicMetadata({ topics: await admin.listTopics() });
          const behind = topics.flatMap(({ partitions }) =>
            partitions.filter(({ isr, replicas }) => isr.length < replicas.length),
          );
          if (behind.length > 0) throw new Error(`${behind.length} partitions lack a replica`);
          return true as const;
        }),
      { deadlineMs: 60_000, everyMs: 200 },
    );
  const start = async (failpoints?: string) => {
    const sinks = [await stage.startSink(), await stage.startSink()];
    const reader = await stage.startStreaming(failpoints === undefined ? {} : { failpoints });
    await stage.openCarts(2_000);
    return { reader, sinks };
  };
  const timed = async (what: string, deadlineMs = 20_000): Promise<void> => {
    const sinceMs = performance.now();
    await stage.requireClean(deadlineMs);
    console.info(`${what}: drained ${Math.round(performance.now() - sinceMs)} ms after the load had ended`);
  };

  it.each(['reader.before-send', 'reader.before-commit'])(
    'the leader of the checkpoint and of live partitions is killed with a transaction open at %s',
    async (failpoint) => {
      const { reader } = await start(`${failpoint}=pause:10`);
      const load = stage.load.pace({ first: 0, count: 500, ordersPerSecond: 50 });
      await waitPaused(reader, failpoint);
      await broker(await leaderOf(stage.environment.env.CHECKPOINT_TOPIC, 0)).kill();
      process.kill(reader.pid, 'SIGUSR2');
      await load;
      await timed(`leader killed (${failpoint})`);
      await kafka.start();
      await stage.load.pace({ first: 500, count: 50, ordersPerSecond: 50 });
      await stage.requireClean(20_000);
    },
  );

  it('the transaction coordinator is killed between send and commit', async () => {
    const { reader } = await start('reader.before-commit=pause:10');
    const load = stage.load.pace({ first: 0, count: 500, ordersPerSecond: 50 });
    await waitPaused(reader, 'reader.before-commit');
    const { SLOT_NAME } = stage.environment.env;
    const partition = coordinatorPartition(`tillstream.cdc-reader.${SLOT_NAME}`);
    await broker(await leaderOf('__transaction_state', partition)).kill();
    process.kill(reader.pid, 'SIGUSR2');
    await load;
    await timed('transaction coordinator killed');
  });

  it("the group's coordinator is killed while the sinks apply", async () => {
    const { sinks } = await start();
    const load = stage.load.pace({ first: 0, count: 500, ordersPerSecond: 50 });
    await sinks[0]!.waitForLog('sink.applied', { deadlineMs: 60_000 });
    const partition = coordinatorPartition(stage.environment.env.CONSUMER_GROUP);
    await broker(await leaderOf('__consumer_offsets', partition)).kill();
    await load;
    await timed("group's coordinator killed");
  });

  /** Does `act` with orders coming before, during and after it; nobody may halt, and nothing be missing or there twice. */
  const underLoad = async (what: string, act: () => Promise<void>, deadlineMs?: number): Promise<void> => {
    const { reader, sinks } = await start();
    let isActing = true;
    const load = (async () => {
      for (let first = 0; isActing; first += 50) await stage.load.pace({ first, count: 50, ordersPerSecond: 50 });
    })();
    await sinks[0]!.waitForLog('sink.applied', { deadlineMs: 60_000 });
    try {
      await act();
    } finally {
      isActing = false;
      await load;
    }
    await timed(what, deadlineMs);
    for (const service of [reader, ...sinks]) {
      expect(service.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
    }
  };

  it('each is stopped and started in turn', () =>
    underLoad('rolling restart', async () => {
      for (const one of kafka.brokers) {
        await one.stop();
        await one.start();
        await waitInSync();
      }
    }));

  it('each is killed and started in turn', () =>
    underLoad('each killed in turn', async () => {
      for (const one of kafka.brokers) {
        await one.kill();
        await one.start();
        await waitInSync();
      }
    }));

  it('all are killed at once, and started', () =>
    underLoad(
      'all killed at once',
      async () => {
        await kafka.kill();
        await kafka.start();
        await waitInSync();
      },
      30_000,
    ));
});
