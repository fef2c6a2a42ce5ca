// The halts of the sinks, of one partition or of all.
import { closeSync, globSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { CompressionTypes } from 'kafkajs';
import { createKafkaClient } from '#kafka/client.ts';
import { plainServers } from '#kafka/servers.ts';
import { silentLogger } from '../kafka/admin.ts';
import { testRootVariable } from '../process/test-directory.ts';
import { waitFor } from '../wait.ts';
import { onKafka, produce, setTopic } from './reader-halts.ts';
import { type HaltCase, type World, whileSinkIsDown } from './row.ts';

const topicOf = ({ stage }: World) => stage.environment.env.ORDERS_TOPIC;
const change = (world: World, set: string, where = 'partition = 1') =>
  world.stage.carts(`UPDATE consumer_offsets SET ${set} WHERE topic = '${topicOf(world)}' AND ${where}`);

/** Until Postgres has been told so. */
async function waitPublished({ stage }: World): Promise<void> {
  const [end] = await stage.orders('SELECT pg_current_wal_insert_lsn()::text AS lsn');
  const { SLOT_NAME } = stage.environment.env;
  await waitFor('the orders to be published', async () => {
    const slots = await stage.orders(
      `SELECT FROM pg_replication_slots WHERE slot_name = '${SLOT_NAME}' AND confirmed_flush_lsn >= '${end!.lsn}'`,
    );
    return slots.length > 0;
  });
}

const BATCH_HEADER_BYTES = 61;

/** The file of a partition on the run's broker. */
function findSegment(topic: string, partition: number): string {
  const pattern = `kafka/**/${topic}-${partition}/00000000000000000000.log`;
  const [found] = globSync(pattern, { cwd: process.env[testRootVariable]! });
  if (found === undefined) throw new Error(`The broker has no ${pattern}`);
  return join(process.env[testRootVariable]!, found);
}

/** Where the first batch of records from `offset` on begins. */
function findBatch(segment: Buffer, offset: bigint): number | undefined {
  for (let start = 0; start + BATCH_HEADER_BYTES <= segment.length; start += 12 + segment.readInt32BE(start + 8)) {
    const isControl = (segment.readInt16BE(start + 21) & 0x20) !== 0;
    if (segment.readBigInt64BE(start) >= offset && !isControl) return start;
  }
  return undefined;
}

export const sinkHalts: readonly HaltCase[] = [
  {
    code: 'RECORDS_LOST',
    fault: whileSinkIsDown(async (world) => {
      await world.place();
      const topic = topicOf(world);
      await waitPublished(world);
      await onKafka(world, async (admin) => {
        const ends = await admin.fetchTopicOffsets(topic);
        const partitions = ends.map(({ partition, high }) => ({ partition, offset: high }));
        await admin.deleteTopicRecords({ topic, partitions });
      });
    }),
  },
  {
    code: 'OFFSET_BEYOND_END',
    fault: whileSinkIsDown((world) => change(world, 'next_offset = next_offset + 1000')),
  },
  {
    code: 'TOPIC_RECREATED',
    fault: whileSinkIsDown((world) => change(world, 'topic_id = gen_random_uuid()')),
  },
  {
    code: 'POSITION_WENT_BACK',
    fault: whileSinkIsDown(async (world) => {
      await change(world, 'last_timeline = 7', 'last_timeline IS NOT NULL');
      await world.place();
    }),
  },
  {
    code: 'GENERATION_CHANGED',
    fault: whileSinkIsDown(async (world) => {
      await change(world, 'generation = 7', 'generation IS NOT NULL');
      await world.place();
    }),
  },
  {
    code: 'TOPIC_REFUSED',
    fault: whileSinkIsDown((world) => setTopic(world, topicOf(world), 'cleanup.policy', 'compact')),
  },
  {
    code: 'UNKNOWN_SCHEMA',
    fault: async (world) => {
      const value = Buffer.from('c301ffffffffffffffff00', 'hex');
      await produce(world, topicOf(world), { partition: 3, key: 'x', value });
      return world.sink;
    },
  },
  {
    code: 'SINK_DEFECT',
    fault: async (world) => {
      // As a defect of the sink would: it can't take from one user's cart.
      await world.stage.carts(`
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a defect'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON cart_lines FOR EACH ROW EXECUTE FUNCTION refuse()`);
      await world.place(1);
      return world.sink;
    },
    after: ({ stage }) => stage.carts('DROP TRIGGER refuse ON cart_lines; DROP FUNCTION refuse'),
  },
  {
    code: 'BATCH_TOO_LARGE',
    fault: async (world) => {
      const { directBrokers } = world.stage.environment.servers;
      const kafka = createKafkaClient({
        kafka: plainServers(directBrokers.split(',')),
        clientId: 'x',
        logger: silentLogger,
      });
      const stranger = kafka.producer({ createPartitioner: () => () => 0 });
      await stranger.connect();
      const messages = [{ value: Buffer.alloc(200 * 1024 * 1024) }];
      await stranger.send({ topic: topicOf(world), messages, compression: CompressionTypes.GZIP });
      await stranger.disconnect();
      return world.sink;
    },
  },
  {
    code: 'BATCH_UNREADABLE',
    fault: whileSinkIsDown(async (world) => {
      await world.place();
      await waitPublished(world);
      // One bit of a record, on the broker's disk: only whoever reads it checks it.
      const stored = await world.stage.carts(
        `SELECT partition, next_offset FROM consumer_offsets WHERE topic = '${topicOf(world)}' ORDER BY partition`,
      );
      const [found] = stored.flatMap(({ partition, next_offset }) => {
        const file = findSegment(topicOf(world), Number(partition));
        const bytes = readFileSync(file);
        const start = findBatch(bytes, BigInt(String(next_offset)));
        return start === undefined ? [] : [{ file, bytes, start }];
      });
      const { file, bytes, start } = found!;
      const at = start + BATCH_HEADER_BYTES + 20;
      const handle = openSync(file, 'r+');
      writeSync(handle, Buffer.from([bytes[at]! ^ 0x10]), 0, 1, at);
      closeSync(handle);
    }),
  },
];
