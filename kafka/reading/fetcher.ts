// Reads many partitions at once, each from an offset: one Fetch request a broker, which waits there for the first record, and
// the next one is on its way while the last one's records are used. Guarantees: read_committed; a partition is read without a
// gap and never jumps (an offset that Kafka does not have is reported, I11); nothing is delivered of a partition that was
// stopped, or started again elsewhere; one fetch a partition is held back at most; leaders are followed when they move, and a
// partition that can't be read for long is a failure. Which partitions, and what becomes of the records, is left to the caller.
import { setTimeout as delay } from 'node:timers/promises';
import { createKafkaError, isRetriable } from '#kafka/errors.ts';
import { createKafkaCluster, type KafkaCluster } from '#kafka/protocol/cluster.ts';
import { createFetchExchange, type FetchedTopicPartition } from '#kafka/protocol/fetch-request.ts';
import { expandedBatchLimit } from '#kafka/protocol/record-batch.ts';
import type { KafkaServers } from '#kafka/servers.ts';
import type { Logger } from '#service/logger.ts';
import { type FetchedBatch, type GroupPartition, type ResponseBudget, toFetchedBatch } from './fetched-batch.ts';

export interface PartitionPosition extends GroupPartition {
  readonly offset: bigint;
}

export interface FetcherOptions {
  readonly kafka: KafkaServers;
  readonly clientId: string;
  readonly logger: Logger;
  readonly maxWaitMs: number;
  readonly maxBytes: number;
  readonly maxBytesPerPartition: number;
  /** Resolves when the next records of this partition may be fetched. Must not reject. */
  readonly onBatch: (batch: FetchedBatch) => Promise<void>;
  /** Kafka does not have the offset that comes next, or not the partition; it is read no further. */
  readonly onOutOfRange: (partition: GroupPartition) => void;
  /** A partition could not be read for long, or never will be. */
  readonly onFailed: (error: unknown) => void;
}

interface Reading extends GroupPartition {
  /** The first offset of the next fetch. */
  fromOffset: bigint;
  /** A request that is on its way asks for it. */
  isAsked: boolean;
  /** What was delivered last is not taken yet. */
  isHeldBack: boolean;
  /** Since when every attempt to read it has failed. */
  failingSinceMs: number | undefined;
}

const OFFSET_OUT_OF_RANGE = 1;
/** Also of a topic that is deleted, and may be created again: only its id tells. */
const UNKNOWN_TOPIC_OR_PARTITION = 3;
const LEADER_NOT_AVAILABLE = 5;
/** An answer later than this comes over a connection that is given up. */
const REQUEST_TIMEOUT_MS = 10_000;
/** An election takes seconds at most; what fails for longer ends the session, so that its cause shows. */
const GIVE_UP_MS = 15_000;
const RETRY_MS = 100;
/** How long a broker may wait while a partition of it is held back, and can't be asked for before the answer. */
const SHORT_WAIT_MS = 5;

const keyOf = ({ topic, partition }: GroupPartition): string => `${topic}[${partition}]`;

export class Fetcher {
  readonly #options: FetcherOptions;
  readonly #cluster: Promise<KafkaCluster>;
  /** In the order of the requests: brokers fill a response from its front, so what has brought records goes to the end. */
  readonly #readings = new Map<string, Reading>();
  readonly #askedBrokers = new Set<number>();
  /** The leaders are not known, and are asked for again soon. */
  #isLocating = false;
  #isClosed = false;

  constructor(options: FetcherOptions) {
    const { kafka, clientId, logger } = options;
    this.#options = options;
    this.#cluster = createKafkaCluster({ kafka, clientId, logger, requestTimeoutMs: REQUEST_TIMEOUT_MS });
    this.#cluster.catch(this.#fail);
  }

  /** Reads these partitions, each from its offset on, whatever was read of them before. */
  start(positions: readonly PartitionPosition[]): void {
    for (const { topic, partition, offset } of positions) {
      const fresh = { isAsked: false, isHeldBack: false, failingSinceMs: undefined };
      this.#readings.set(keyOf({ topic, partition }), { topic, partition, fromOffset: offset, ...fresh });
    }
    this.#askSoon();
  }

  stop(partition: GroupPartition): void {
    this.#readings.delete(keyOf(partition));
  }

  stopAll(): void {
    this.#readings.clear();
  }

  /** Cuts the connections. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#readings.clear();
    const cluster = await this.#cluster.catch(() => undefined); // that it did not open was reported
    await cluster?.close();
  }

  #fail = (error: unknown): void => {
    if (!this.#isClosed) this.#options.onFailed(error);
  };

  #isDue = (reading: Reading): boolean =>
    this.#readings.get(keyOf(reading)) === reading && !reading.isAsked && !reading.isHeldBack;

  /** After everything that was just delivered was taken, where that needs no waiting. */
  #askSoon(): void {
    setImmediate(() => {
      if (!this.#isClosed) this.#askBrokers().catch(this.#fail);
    });
  }

  /** Asks every broker that no request is on its way to for the partitions that it leads. */
  async #askBrokers(): Promise<void> {
    const cluster = await this.#cluster;
    const due = [...this.#readings.values()].filter(this.#isDue);
    try {
      for (const [broker, led] of await groupByLeader(cluster, due)) {
        if (!this.#askedBrokers.has(broker)) void this.#ask(cluster, broker, led.filter(this.#isDue));
      }
    } catch (error) {
      if (this.#isLocating || this.#isClosed) return;
      this.#isLocating = true;
      await this.#retryLater(cluster, new Map(due.map((reading) => [reading, error])));
      this.#isLocating = false;
      this.#askSoon();
    }
  }

  /** One request to `broker`, and what follows from it. */
  async #ask(cluster: KafkaCluster, broker: number, wanted: readonly Reading[]): Promise<void> {
    if (wanted.length === 0 || this.#isClosed) return;
    this.#askedBrokers.add(broker);
    for (const reading of wanted) reading.isAsked = true;
    const failed = await this.#fetch(cluster, broker, wanted).catch((error: unknown) => {
      if ((error as Error).name === 'KafkaJSRequestTimeoutError') cluster.reconnect();
      return new Map(wanted.map((reading) => [reading, error]));
    });
    for (const reading of wanted) {
      reading.isAsked = false;
      if (!failed.has(reading)) reading.failingSinceMs = undefined;
    }
    if (failed.size > 0 && !this.#isClosed) await this.#retryLater(cluster, failed);
    this.#askedBrokers.delete(broker);
    this.#askSoon();
  }

  /** Delivers what one request brings, and returns the partitions that it could not read. */
  async #fetch(
    cluster: KafkaCluster,
    nodeId: number,
    wanted: readonly Reading[],
  ): Promise<ReadonlyMap<Reading, unknown>> {
    if (nodeId === NO_LEADER) throw createKafkaError(LEADER_NOT_AVAILABLE);
    const { maxBytes, maxBytesPerPartition } = this.#options;
    const isAnyHeldBack = [...this.#readings.values()].some(({ isHeldBack }) => isHeldBack);
    const maxWaitMs = isAnyHeldBack ? SHORT_WAIT_MS : this.#options.maxWaitMs;
    const settings = { isolation: 'read_committed', maxWaitMs, maxBytes, maxBytesPerPartition } as const;
    const broker = await cluster.findBroker(nodeId);
    const fetched = await broker.connectionPool.send(createFetchExchange(wanted, settings, createKafkaError));
    const budget = { leftBytes: expandedBatchLimit() };
    const failed = new Map<Reading, unknown>();
    for (const partition of fetched) {
      const reading = this.#readings.get(keyOf(partition));
      if (this.#isClosed || reading === undefined || !wanted.includes(reading)) continue;
      if (partition.errorCode === 0) this.#deliver(reading, partition, budget);
      else if (partition.errorCode === OFFSET_OUT_OF_RANGE || partition.errorCode === UNKNOWN_TOPIC_OR_PARTITION) {
        this.stop(reading);
        this.#options.onOutOfRange(reading);
      } else failed.set(reading, createKafkaError(partition.errorCode));
    }
    return failed;
  }

  #deliver(reading: Reading, fetched: FetchedTopicPartition, budget: ResponseBudget): void {
    const batch = toFetchedBatch(reading.topic, fetched, reading.fromOffset, budget);
    if (batch === undefined) return;
    this.stop(reading);
    if (batch.unreadable === undefined) this.#readings.set(keyOf(reading), reading);
    reading.fromOffset = batch.lastOffset + 1n;
    reading.isHeldBack = true;
    this.#options.onBatch(batch).then(() => {
      reading.isHeldBack = false;
      if (this.#isDue(reading)) this.#askSoon();
    }, this.#fail);
  }

  async #retryLater(cluster: KafkaCluster, failed: ReadonlyMap<Reading, unknown>): Promise<void> {
    for (const [reading, error] of failed) {
      if (this.#readings.get(keyOf(reading)) !== reading) continue;
      reading.failingSinceMs ??= performance.now();
      if (!isRetriable(error) || performance.now() - reading.failingSinceMs > GIVE_UP_MS) {
        this.#fail(error);
        break;
      }
      cluster.forgetLeaders(reading.topic);
    }
    await delay(RETRY_MS);
  }
}

/** What Kafka states of a partition without a leader. */
const NO_LEADER = -1;

async function groupByLeader(
  cluster: KafkaCluster,
  readings: readonly Reading[],
): Promise<ReadonlyMap<number, readonly Reading[]>> {
  const leaders = new Map<string, ReadonlyMap<number, number>>();
  for (const { topic } of readings) if (!leaders.has(topic)) leaders.set(topic, await cluster.findLeaders(topic));
  return Map.groupBy(readings, ({ topic, partition }) => leaders.get(topic)!.get(partition) ?? NO_LEADER);
}
