// Collects the path of an order from where its parts are: the orders database, Kafka, and what the sinks answer. Guarantees: it
// only reads; a part that is away within its own deadline becomes a problem in the answer, and the others are there. How far the
// order has come is schemas/order-path.ts's, who may ask is the caller's.
import { createCheckpointTopic } from '#kafka/checkpoint-topic.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import type { CartsStatus } from '#schemas/carts-status.ts';
import { parseCheckpoint } from '#schemas/checkpoint.ts';
import type { Lsn } from '#schemas/lsn.ts';
import { formatLsn } from '#schemas/lsn.ts';
import { type CartsOrder, type OrderPath, type OrderPaths, type PathFacts, stateOf } from '#schemas/order-path.ts';
import { orderPartition } from '#schemas/partition.ts';
import { parsePosition } from '#schemas/position.ts';
import type { Database } from '#service/database.ts';
import { withDeadline } from '#service/deadline.ts';
import { readOrderFacts, readOrdersOfUser } from '../postgres/sql/orders.ts';
import { readAcknowledged } from '../postgres/sql/slots.ts';
import { findOrderEvent, findTransaction, type LiveTopic, MOST_RECORDS } from './order-event.ts';

export type Wanted =
  | { readonly kind: 'order'; readonly orderId: string }
  | { readonly kind: 'user'; readonly userId: string }
  | { readonly kind: 'lsn'; readonly commitLsn: Lsn };

/** How many orders of a user are shown: each takes some twenty fetches from Kafka. */
const NEWEST_OF_USER = 5;
const KAFKA_DEADLINE_MS = 5_000;

export interface PathSources {
  readonly orders: Pick<Database, 'pool'>;
  readonly openLog: () => Promise<KafkaLog>;
  /** What the sinks know: by their operations address, or read from their database. */
  readonly carts: {
    readonly readOrder: (orderId: string) => Promise<CartsOrder>;
    readonly readStatus: () => Promise<Pick<CartsStatus, 'partitions' | 'haltedPartitions'>>;
  };
  /** Of each part but Kafka's, which takes several requests. */
  readonly deadlineMs: number;
  readonly names: { readonly slotName: string; readonly ordersTopic: string; readonly checkpointTopic: string };
}

/** @throws the orders database's or Kafka's error where, without them, it is not known which orders are meant */
export async function findPaths(sources: PathSources, wanted: Wanted): Promise<OrderPaths> {
  await using live = new SharedTopic(sources);
  if (wanted.kind === 'order') return { paths: [await findPath(sources, live, wanted.orderId)], why: null };
  const { orderIds, why } = await (wanted.kind === 'user'
    ? findOrdersOfUser(sources, wanted.userId)
    : findOrdersAt(await live.open(), wanted.commitLsn));
  const paths: OrderPath[] = [];
  for (const orderId of orderIds) paths.push(await findPath(sources, live, orderId));
  return { paths, why: paths.length === 0 ? why : null };
}

async function findOrdersOfUser({ orders, deadlineMs }: PathSources, userId: string) {
  const query = orders.pool.query(readOrdersOfUser(userId, NEWEST_OF_USER));
  const rows: { order_id: string }[] = await withDeadline(query, deadlineMs, late('the orders database'));
  return { orderIds: rows.map((row) => row.order_id), why: `The orders database has no order of ${userId}.` };
}

async function findOrdersAt(live: LiveTopic, commitLsn: Lsn) {
  const { orderIds, next, isForgotten } = await findTransaction(live, commitLsn);
  const after = next === null ? 'none is after it' : `the next one is at ${next}`;
  const forgotten = isForgotten
    ? ' Kafka no longer goes back to there in every partition: find the order by its id.'
    : '';
  const why = `The live topic has no order that committed at ${formatLsn(commitLsn)}; ${after}.${forgotten}`;
  return { orderIds, why };
}

/** Kafka's log and the partitions in use, opened once for all orders of a request, when first needed. */
class SharedTopic implements AsyncDisposable {
  readonly #sources: PathSources;
  #opening: Promise<LiveTopic & { readonly log: KafkaLog }> | undefined;

  constructor(sources: PathSources) {
    this.#sources = sources;
  }

  open(): Promise<LiveTopic & { readonly log: KafkaLog }> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  async #open() {
    const { openLog, names } = this.#sources;
    const log = await openLog();
    const checkpoints = createCheckpointTopic({ log, topic: names.checkpointTopic, slotName: names.slotName });
    // Without a checkpoint, which a first start is about to write, all partitions are in use.
    const { record } = await checkpoints.read(KAFKA_DEADLINE_MS, 'last_stable_offset').catch(async (error) => {
      await log.close();
      throw error;
    });
    return {
      log,
      topic: names.ordersTopic,
      partitions: record === null ? undefined : parseCheckpoint(record).partitions,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = await this.#opening?.catch(() => undefined); // whoever opened it has its error
    await opened?.log.close();
  }
}

async function findPath(sources: PathSources, live: SharedTopic, orderId: string): Promise<OrderPath> {
  const problems: string[] = [];
  const part = async <T>(what: string, work: Promise<T>, limitMs = sources.deadlineMs): Promise<T | undefined> => {
    try {
      return await withDeadline(work, limitMs, late(what));
    } catch (error) {
      problems.push(`${what}: ${(error as Error).message || (error as { code?: string }).code}`);
      return undefined;
    }
  };
  const { orders, carts, names } = sources;
  const [row, reader, cartsOrder, status] = await Promise.all([
    part('the orders database', readOrder(orders, orderId)),
    part('the slot', readReader(orders, names.slotName)),
    part('the carts', carts.readOrder(orderId)),
    part('the sinks’ partitions', carts.readStatus()),
  ]);
  const applied = cartsOrder?.applied ?? null;
  const sought = row && { orderId, ...row.sought, position: applied === null ? null : parsePosition(applied.position) };
  const search =
    sought &&
    (await part(
      'Kafka',
      live.open().then((topic) => findOrderEvent(topic, sought)),
      KAFKA_DEADLINE_MS,
    ));
  if (search?.kind === 'given-up') {
    problems.push(`Kafka: not among the ${MOST_RECORDS} records that follow the time at which the order was placed`);
  }
  const event = search?.kind === 'found' ? search.event : null;
  const facts: PathFacts = {
    orderId,
    order: row?.order ?? null,
    event,
    reader: reader ?? null,
    partition: status && row ? findPartition(status, names.ordersTopic, row.sought.userId, event?.partition) : null,
    carts: cartsOrder ?? null,
    problems: [...new Set(problems)],
    kafka: isSearched(row, search?.kind),
  };
  const { kafka: _, ...path } = facts;
  return { ...path, state: stateOf(facts) };
}

/** Of an order that the database does not have nobody knows the user, and so the partition. */
function isSearched(row: object | null | undefined, kind: string | undefined): PathFacts['kafka'] {
  if (row === null) return 'searched';
  if (kind === undefined || kind === 'given-up') return 'unknown';
  return kind === 'forgotten' ? 'forgotten' : 'searched';
}

function late(what: string): () => Error {
  return () => new Error(`${what} did not answer in time`);
}

interface OrderRow {
  readonly order_id: string;
  readonly user_id: string;
  readonly source: string;
  readonly placed_at: Date;
  readonly placed_at_micros: bigint;
  readonly xid: string | null;
  readonly items: { lineNo: number; sku: string; quantity: number }[];
}

async function readOrder({ pool }: Pick<Database, 'pool'>, orderId: string) {
  const [row]: OrderRow[] = await pool.query(readOrderFacts(orderId));
  if (row === undefined) return null;
  const { user_id: userId, source, placed_at, placed_at_micros: placedAtMicros, xid, items } = row;
  return {
    order: { userId, source, placedAt: placed_at.toISOString(), xid, items },
    sought: { userId, placedAtMicros },
  };
}

async function readReader({ pool }: Pick<Database, 'pool'>, slotName: string): Promise<OrderPath['reader']> {
  const [row]: { acknowledged: string | null; active: boolean; wal_end: string }[] = await pool.query(
    readAcknowledged(slotName),
  );
  return { acknowledged: row!.acknowledged, active: row!.active, walEnd: row!.wal_end };
}

function findPartition(
  { partitions, haltedPartitions }: Pick<CartsStatus, 'partitions' | 'haltedPartitions'>,
  topic: string,
  userId: string,
  known: number | undefined,
): OrderPath['partition'] {
  // Where Kafka has not shown it: the sinks have a row for each partition that is in use, unless some were added since.
  const partition = known ?? orderPartition(userId, partitions.filter((one) => one.topic === topic).length);
  const isIt = (one: { topic: string; partition: number }) => one.topic === topic && one.partition === partition;
  const found = partitions.find(isIt);
  if (found === undefined) return null;
  const halted = haltedPartitions.find(isIt);
  return {
    topic,
    partition,
    nextOffset: found.nextOffset,
    ownerEpoch: found.ownerEpoch,
    halted: halted === undefined ? null : { code: halted.code, since: halted.since, command: halted.command },
  };
}
