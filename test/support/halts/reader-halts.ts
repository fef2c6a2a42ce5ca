// The halts of the reader that are made on the run's shared servers: its slot, publication, tables, checkpoint and topics.
import { ConfigResourceTypes, Kafka, logLevel } from 'kafkajs';
import { withKafkaAdmin } from '../kafka/admin.ts';
import { withServer } from '../stack/environment.ts';
import { waitFor } from '../wait.ts';
import { type HaltCase, type World, whileReaderIsDown } from './row.ts';

const env = ({ stage }: World) => stage.environment.env;

const dropSlot = ({ stage }: World) =>
  waitFor('the slot to be free', () =>
    stage.orders(`SELECT pg_drop_replication_slot('${stage.environment.env.SLOT_NAME}')`).then(() => true),
  );

export const onKafka = <T>({ stage }: World, use: Parameters<typeof withKafkaAdmin<T>>[1]) =>
  withKafkaAdmin(stage.environment.servers.directBrokers, use);

const deleteTopic = (world: World, topic: string) =>
  onKafka(world, async (admin) => {
    await admin.deleteTopics({ topics: [topic] });
    await waitFor('the topic to be gone', async () => !(await admin.listTopics()).includes(topic));
  });

const createTopic = (world: World, topic: string) =>
  onKafka(world, (admin) =>
    waitFor('the topic to be there again', () => admin.createTopics({ topics: [{ topic, numPartitions: 6 }] })),
  );

export const setTopic = (world: World, name: string, setting: string, value: string) =>
  onKafka(world, (admin) =>
    admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name, configEntries: [{ name: setting, value }] }],
    }),
  );

export async function produce(
  world: World,
  topic: string,
  message: { key: string; value: Buffer; partition?: number },
): Promise<void> {
  const brokers = world.stage.environment.servers.directBrokers.split(',');
  const producer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  await producer.send({ topic, messages: [{ partition: 0, ...message }] });
  await producer.disconnect();
}

const SWAP = `
  BEGIN;
  ALTER TABLE orders RENAME TO orders_old;
  ALTER TABLE order_items RENAME TO order_items_old;
  CREATE TABLE orders (LIKE orders_old INCLUDING ALL);
  CREATE TABLE order_items (LIKE order_items_old INCLUDING ALL);
  COMMIT`;
const PUT_BACK = `
  BEGIN;
  SET LOCAL session_replication_role = replica;
  INSERT INTO orders_old SELECT * FROM orders;
  INSERT INTO order_items_old SELECT * FROM order_items;
  DROP TABLE orders, order_items;
  ALTER TABLE orders_old RENAME TO orders;
  ALTER TABLE order_items_old RENAME TO order_items;
  COMMIT`;

/** Preloaded into a reader: its first COMMIT gets lost on the way, as in a stream that breaks the protocol. */
const LOST_COMMIT = '--import=./test/support/process/lost-commit.ts';

export const readerHalts: readonly HaltCase[] = [
  {
    code: 'SLOT_DROPPED',
    fault: whileReaderIsDown(async (world) => {
      await dropSlot(world);
      await world.place();
    }),
  },
  {
    code: 'SLOT_AHEAD',
    fault: whileReaderIsDown(async (world) => {
      await world.place();
      // A commit that waits for the flush, of the orders before it too.
      await world.stage.orders(`SELECT pg_logical_emit_message(true, 'noise', 'x')`);
      const { SLOT_NAME } = env(world);
      await waitFor('the slot to move', () =>
        world.stage
          .orders(`SELECT pg_replication_slot_advance('${SLOT_NAME}', pg_current_wal_flush_lsn())`)
          .then(() => true),
      );
    }),
  },
  {
    code: 'SLOT_FOREIGN',
    fault: whileReaderIsDown(async (world) => {
      await dropSlot(world);
      await world.place();
      // A slot of its name in another database.
      await withServer(world.stage.environment.servers.orderServerUrl, (client) =>
        client.query(`SELECT pg_create_logical_replication_slot('${env(world).SLOT_NAME}', 'pgoutput')`),
      );
    }),
  },
  {
    code: 'PUBLICATION_CHANGED',
    fault: whileReaderIsDown(async (world) => {
      const { PUBLICATION_NAME } = env(world);
      await world.stage.orders(`DROP PUBLICATION ${PUBLICATION_NAME}`);
      await world.place(); // while there is none
      await world.stage.orders(
        `CREATE PUBLICATION ${PUBLICATION_NAME} FOR TABLE orders, order_items WITH (publish = 'insert')`,
      );
    }),
  },
  {
    code: 'TABLES_CHANGED',
    fault: whileReaderIsDown(async (world) => {
      await world.place();
      await world.stage.orders(SWAP);
      await world.place();
    }),
    before: ({ stage }) => stage.orders(PUT_BACK),
  },
  {
    code: 'STREAM_OUT_OF_ORDER',
    fault: async (world) => {
      await world.reader.stop();
      await world.place();
      return world.stage.environment.startService('cdc-reader', {}, { nodeArgs: [LOST_COMMIT] });
    },
  },
  {
    code: 'CHECKPOINT_MISSING',
    fault: whileReaderIsDown(async (world) => {
      await deleteTopic(world, env(world).CHECKPOINT_TOPIC);
      await world.place();
    }),
  },
  {
    code: 'CHECKPOINT_UNREADABLE',
    fault: whileReaderIsDown(async (world) => {
      await produce(world, env(world).CHECKPOINT_TOPIC, { key: env(world).SLOT_NAME, value: Buffer.from('no JSON') });
      await world.place();
    }),
  },
  {
    code: 'LIVE_TOPIC_MISSING',
    fault: async (world) => {
      await deleteTopic(world, env(world).ORDERS_TOPIC);
      await world.place();
      return world.reader;
    },
  },
  {
    code: 'LIVE_TOPIC_CHANGED',
    fault: whileReaderIsDown(async (world) => {
      await deleteTopic(world, env(world).ORDERS_TOPIC);
      await createTopic(world, env(world).ORDERS_TOPIC);
      await world.place();
    }),
  },
  {
    code: 'TOPIC_MISCONFIGURED',
    fault: whileReaderIsDown((world) => setTopic(world, env(world).CHECKPOINT_TOPIC, 'cleanup.policy', 'delete')),
  },
];
