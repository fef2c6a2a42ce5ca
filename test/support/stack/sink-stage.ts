// A stage for the sink without a reader: its topics, a transactional producer in the reader's place, full carts, and the
// figures that tell whether every order took effect once. Subtraction is not idempotent, so a second effect shows in
// what is left of a cart, and a lost one too.

import { randomUUID } from 'node:crypto';
import type { Producer } from 'kafkajs';
import pg from 'pg';
import { createKafkaClient } from '#kafka/client.ts';
import { plainServers } from '#kafka/servers.ts';
import { orderPartition } from '#schemas/partition.ts';
import {
  formatReplayEnd,
  formatReplayHeaders,
  REPLAY_PROGRESS_KEY,
  type ReplayKind,
  type ReplayStamp,
} from '#schemas/replay/records.ts';
import type { OrderPlaced } from '../../../schemas/order-placed.ts';
import { encodeOrderPlaced } from '../examples/encode-order-placed.ts';
import { createEvent, createPositions, tallyEvents } from '../examples/sink-events.ts';
import { silentLogger, withKafkaAdmin } from '../kafka/admin.ts';
import type { Service } from '../process/service-process.ts';
import { waitFor } from '../wait.ts';
import { createTestEnvironment, type TestEnvironment, type TestServers } from './environment.ts';
import { startSink } from './start-services.ts';

export const partitionCount = 6;
/** What each user has of the one SKU at first. */
export const fullCart = 1_000_000;

type RawRecord = {
  partition: number;
  key: Buffer | null;
  value: Buffer | null;
  headers?: Record<string, string>;
};
type StoredOffset = { topic: string; partition: number; nextOffset: bigint; ownerEpoch: bigint };

export type SinkStage = {
  readonly environment: TestEnvironment;
  readonly topic: string;
  readonly replayTopic: string;
  /** Creates the live topic and the replay topic, unless told otherwise. */
  createTopics(options?: { replay?: boolean }): Promise<void>;
  createReplayTopic(): Promise<void>;
  /** Starts a sink and waits until it serves carts. */
  startSink(options?: Parameters<typeof startSink>[1]): Promise<Service>;
  /** Fills the carts of `users`; the tables must be there. */
  fillCarts(users: readonly string[]): Promise<void>;
  /** Publishes one order of one piece for each of `users`, in one Kafka transaction; returns the events. */
  publish(users: readonly string[], changes?: Partial<OrderPlaced>): Promise<OrderPlaced[]>;
  /** Stores a run as the tool does before its first record: the sinks hold one that is not stored. */
  storeReplayRun(stamp: ReplayStamp): Promise<void>;
  /** Stores a run, and publishes events of it as the tool would, in one Kafka transaction; `end`: with the run's end. */
  publishReplay(events: readonly OrderPlaced[], stamp: ReplayStamp, options?: { end?: boolean }): Promise<void>;
  publishRaw(records: readonly RawRecord[], options?: { topic?: string; abort?: boolean }): Promise<void>;
  query<R extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<R[]>;
  storedOffsets(): Promise<StoredOffset[]>;
  /** Waits until every published order is in the ledger and the stored offsets are at the live topic's end, markers included. */
  waitDrained(deadlineMs?: number): Promise<void>;
  /** Throws unless each published order took one piece out of its user's cart, once, and is in the ledger. */
  requireAppliedOnce(): Promise<void>;
  /** Waits until the group has no member: one that could not say that it leaves stays for its session. */
  waitGroupEmpty(): Promise<void>;
  cleanUp(): Promise<void>;
};

/** The sum of a metric over its labels; 0 before its first value. */
export async function sumOf(sink: Service, name: string): Promise<number> {
  const series = [...(await sink.metrics())].filter(([key]) => key === name || key.startsWith(`${name}{`));
  return series.reduce((sum, [, value]) => sum + value, 0);
}

/** Creates databases and names; `kafka` of `servers` may be behind proxies. */
export async function createSinkStage(label: string, servers?: TestServers): Promise<SinkStage> {
  const environment = await createTestEnvironment(label, servers);
  const { ORDERS_TOPIC: topic, REPLAY_TOPIC: replayTopic } = environment.env;
  const kafka = createKafkaClient({
    kafka: plainServers(environment.servers.directBrokers.split(',')),
    clientId: 'stage',
    logger: silentLogger,
  });
  const published = new Map<string, OrderPlaced>();
  const nextPosition = createPositions();
  let producer: Producer | undefined;

  const transactional = async (): Promise<Producer> => {
    if (producer !== undefined) return producer;
    producer = kafka.producer({
      transactionalId: `stage-${environment.id}`,
      idempotent: true,
      maxInFlightRequests: 1,
      transactionTimeout: 10_000,
    });
    await producer.connect();
    return producer;
  };
  const query: SinkStage['query'] = async <R extends pg.QueryResultRow>(text: string, values: unknown[] = []) => {
    const client = new pg.Client({ connectionString: environment.env.CART_DATABASE_URL });
    await client.connect();
    try {
      return (await client.query<R>(text, values)).rows;
    } finally {
      await client.end();
    }
  };
  const publishRaw: SinkStage['publishRaw'] = async (records, { topic: to = topic, abort = false } = {}) => {
    const transaction = await (await transactional()).transaction();
    await transaction.send({ topic: to, messages: records.map((record) => ({ ...record })) as never });
    await (abort ? transaction.abort() : transaction.commit());
  };
  const storeReplayRun: SinkStage['storeReplayRun'] = async ({ runId, mode, ruleVersion }) => {
    await query(
      `INSERT INTO replay_runs (run_id, mode, source, rule_version, plan) VALUES ($1, $2, 'kafka', $3, '{}')
       ON CONFLICT (run_id) DO NOTHING`,
      [runId, mode, ruleVersion],
    );
  };
  const createTopics = async (names: readonly string[]): Promise<void> => {
    await withKafkaAdmin(environment.servers.directBrokers, async (admin) => {
      const topics = names.map((name) => ({ topic: name, numPartitions: partitionCount }));
      await admin.createTopics({ waitForLeaders: true, topics });
    });
  };
  const storedOffsets: SinkStage['storedOffsets'] = async () => {
    const rows = await query<{ topic: string; partition: number; next_offset: string; owner_epoch: string }>(
      'SELECT topic, partition, next_offset, owner_epoch FROM consumer_offsets ORDER BY topic, partition',
    );
    return rows.map((row) => ({
      topic: row.topic,
      partition: row.partition,
      nextOffset: BigInt(row.next_offset),
      ownerEpoch: BigInt(row.owner_epoch),
    }));
  };

  const waitGroupEmpty = async (): Promise<void> => {
    const { CONSUMER_GROUP } = environment.env;
    await waitFor(
      'the group to have no members',
      async () => {
        const describe = withKafkaAdmin(environment.servers.directBrokers, (admin) =>
          admin.describeGroups([CONSUMER_GROUP]),
        );
        return (await describe).groups[0]!.members.length === 0;
      },
      { deadlineMs: 30_000, everyMs: 200 },
    );
  };

  return {
    environment,
    topic,
    replayTopic,
    query,
    publishRaw,
    storedOffsets,
    createTopics: ({ replay = true } = {}) => createTopics(replay ? [topic, replayTopic] : [topic]),
    createReplayTopic: () => createTopics([replayTopic]),
    async startSink(options) {
      const sink = await startSink(environment, options);
      await sink.waitReady();
      return sink;
    },
    async fillCarts(users) {
      await query(
        `INSERT INTO cart_lines (line_id, user_id, sku, quantity)
         SELECT gen_random_uuid(), u, 'sku-1', $2 FROM unnest($1::text[]) AS u`,
        [users, fullCart],
      );
    },
    async publish(users, changes = {}) {
      const events = users.map((userId) =>
        createEvent({ userId, ...nextPosition(), ...changes, orderId: randomUUID() }),
      );
      await publishRaw(
        events.map((event) => ({
          partition: orderPartition(event.userId, partitionCount),
          key: Buffer.from(event.userId),
          value: encodeOrderPlaced(event),
        })),
      );
      for (const event of events) published.set(event.orderId, event);
      return events;
    },
    storeReplayRun,
    async publishReplay(events, stamp, { end = false } = {}) {
      await storeReplayRun(stamp);
      const byPartition = Map.groupBy(events, ({ userId }) => orderPartition(userId, partitionCount));
      const records = [...byPartition].flatMap(([partition, orders]): RawRecord[] => {
        const mark = (kind: ReplayKind) => ({ partition, headers: formatReplayHeaders(stamp, kind) });
        return [
          ...orders.map((order) => ({
            ...mark('order'),
            key: Buffer.from(order.userId),
            value: encodeOrderPlaced(order),
          })),
          ...(end ? [{ ...mark('end'), key: null, value: formatReplayEnd(tallyEvents(orders)) }] : []),
        ];
      });
      const progress = { partition: 0, key: Buffer.from(REPLAY_PROGRESS_KEY), value: Buffer.from('{}') };
      await publishRaw([...records, { ...progress, headers: formatReplayHeaders(stamp, 'progress') }], {
        topic: replayTopic,
      });
    },
    async waitDrained(deadlineMs = 30_000) {
      await waitFor(
        'the stored offsets to reach the end of the topics',
        async () => {
          // A commit is answered before its markers are written: only then does the last stable offset pass it.
          const [ledger] = await query<{ orders: string }>('SELECT count(*) AS orders FROM applied_orders');
          if (Number(ledger!.orders) < published.size) throw new Error(`${ledger!.orders} of ${published.size} orders`);
          const stored = await storedOffsets();
          const ends = await withKafkaAdmin(environment.servers.directBrokers, (admin) =>
            admin.fetchTopicOffsets(topic),
          );
          const behind = ends.filter(({ partition, high }) => {
            const found = stored.find((one) => one.topic === topic && one.partition === partition);
            return (found?.nextOffset ?? 0n) < BigInt(high);
          });
          if (behind.length > 0) throw new Error(`${behind.length} partitions are behind`);
          return true;
        },
        { deadlineMs, everyMs: 100 },
      );
    },
    async requireAppliedOnce() {
      const ledger = await query<{ order_id: string }>('SELECT order_id FROM applied_orders');
      const unknown = ledger.filter(({ order_id }) => !published.has(order_id)).length;
      if (unknown > 0 || ledger.length !== published.size) {
        throw new Error(
          `${ledger.length} orders in the ledger (${unknown} never published), ${published.size} published`,
        );
      }
      const left = await query<{ user_id: string; quantity: number }>('SELECT user_id, quantity FROM cart_lines');
      const ordered = Map.groupBy(published.values(), ({ userId }) => userId);
      for (const { user_id, quantity } of left) {
        const taken = fullCart - quantity;
        const wanted = ordered.get(user_id)?.length ?? 0;
        if (taken !== wanted) throw new Error(`${taken} pieces were taken for ${wanted} orders of ${user_id}`);
      }
    },
    waitGroupEmpty,
    async cleanUp() {
      await producer?.disconnect();
      await environment.stopServices();
      // One that was killed is a member for as long as its session.
      await waitGroupEmpty();
      await environment.cleanUp();
    },
  };
}
