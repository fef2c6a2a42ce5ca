// Is what Kafka has committed what the orders database committed? By the models' own records and the oracle's decoder;
// nothing of the program is asked. Without a halt the log must be complete (I1) and hold nothing else (I2), in order (I4),
// whole transactions with the checkpoint that covers them (I5); with one it must be a beginning of that (I11).
import { comparePlaces, type OrderEvent, partitionOf, positionText, readEvent } from '../support/oracle/event.ts';
import { CHECKPOINTS, type Entry, LIVE, type ModelKafka, type Transaction } from './model/kafka.ts';
import type { PlacedOrder } from './model/postgres.ts';
import type { Simulation } from './simulation.ts';

export function demand(holds: boolean, what: () => string): asserts holds {
  if (!holds) throw new Error(what());
}

interface PlainCheckpoint {
  readonly state: string;
  readonly throughLsn: bigint;
  readonly partialLsn: bigint | undefined;
}

/** One Kafka transaction as a reader of committed records has it. */
interface Published {
  readonly events: readonly OrderEvent[];
  readonly checkpoint: PlainCheckpoint;
}

function parseLsnText(text: string): bigint {
  const [high, low] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}

function readCheckpoint({ value }: Entry): PlainCheckpoint {
  const { state, throughLsn, partial } = JSON.parse(value!.toString('utf8'));
  const partialLsn = partial === null ? undefined : parseLsnText(partial.commitLsn);
  return { state, throughLsn: parseLsnText(throughLsn), partialLsn };
}

/** A committed transaction never changes, and is looked at again and again. */
const known = new WeakMap<Transaction, Published>();

function readPublished(transaction: Transaction): Published {
  const found = known.get(transaction) ?? decodePublished(transaction);
  known.set(transaction, found);
  return found;
}

function decodePublished({ id, written }: Transaction): Published {
  const events = written
    .filter(({ topic }) => topic === LIVE)
    .map((entry) => {
      const event = readEvent(entry.value);
      demand(event !== undefined, () => `I9: the record at ${entry.partition}:${entry.offset} can't be read`);
      const isOwn = entry.key?.toString('utf8') === event.userId;
      demand(isOwn, () => `I4: the key of the record at ${entry.partition}:${entry.offset} is not its user`);
      return event;
    })
    .sort(comparePlaces);
  const checkpoints = written.filter(({ topic }) => topic === CHECKPOINTS);
  demand(checkpoints.length === 1, () => `I5: Kafka transaction ${id} has ${checkpoints.length} checkpoints`);
  return { events, checkpoint: readCheckpoint(checkpoints[0]!) };
}

/** Up to where everything is published, by the last committed checkpoint; 0 before the first start is done. */
export function readRecordedLsn({ committed }: ModelKafka): bigint {
  const record = committed.at(-1)?.written.findLast(({ topic }) => topic === CHECKPOINTS);
  return record === undefined ? 0n : readCheckpoint(record).throughLsn;
}

/** I7, at each confirmation: Postgres is told only of what Kafka has committed, by the checkpoint and by the events. */
export function judgeConfirmation({ kafka, postgres }: Simulation, throughLsn: bigint): void {
  const published = kafka.committed.map(readPublished);
  const recorded = published.at(-1)?.checkpoint.throughLsn ?? 0n;
  demand(throughLsn <= recorded, () => `I7: ${throughLsn} is confirmed, the committed checkpoint says ${recorded}`);
  const there = new Set(published.flatMap(({ events }) => events.map(({ orderId }) => orderId)));
  for (const { commitLsn, orders } of postgres.wal) {
    const isPublished = commitLsn >= throughLsn || orders.every(({ orderId }) => there.has(orderId));
    demand(isPublished, () => `I7: ${throughLsn} is confirmed, but the orders of ${commitLsn} are not in Kafka`);
  }
}

/** @returns the ids of all orders that were ever published */
export function judgeLog(simulation: Simulation): ReadonlySet<string> {
  const { kafka, postgres, halts, ordersAtGap } = simulation;
  const published = kafka.committed.map(readPublished);
  const ids = published.flatMap(({ events }) => events.map(({ orderId }) => orderId));
  const committed = postgres.wal.flatMap(({ orders }) => orders);
  const isReaderHalted = halts.some(({ who }) => who === 'reader');
  if (isReaderHalted) {
    // What follows rows that the publication left out may be published until the next check; it stays a halt.
    const streamed = postgres.wal.flatMap(({ orders, isHidden }) => (isHidden ? [] : orders));
    const isBeginning = [committed, streamed, ordersAtGap ?? []].some((orders) => beginsWith(orders, ids));
    demand(isBeginning, () => `I11: published is ${ids.join(' ')}, which is no beginning of what was committed`);
  } else {
    const isAll = ids.length === committed.length && beginsWith(committed, ids);
    demand(isAll, () => `I1, I2, I3: committed are\n${idsOf(committed)}, but published\n${ids.join(' ')}`);
    for (const { events, checkpoint } of published) judgeContents(events, checkpoint, simulation);
  }
  judgeAtomicity(published);
  judgeOrder(kafka);
  return new Set(ids);
}

const idsOf = (orders: readonly PlacedOrder[]): string => orders.map(({ orderId }) => orderId).join(' ');

const beginsWith = (orders: readonly PlacedOrder[], ids: readonly string[]): boolean =>
  ids.length <= orders.length && ids.every((id, index) => orders[index]!.orderId === id);

/** I2: each event says what its order is, and, if it was streamed, where it was committed. */
function judgeContents(
  events: readonly OrderEvent[],
  { state }: PlainCheckpoint,
  { postgres, placed }: Simulation,
): void {
  for (const event of events) {
    const order = placed.get(event.orderId)!;
    const items = event.items.map(({ lineNo, sku, quantity, cartLineId }) => [lineNo, sku, quantity, cartLineId]);
    const wanted = order.items.map(({ lineNo, sku, quantity, cartLineId }) => [lineNo, sku, quantity, cartLineId]);
    const isSame = event.userId === order.userId && event.source === order.source && `${items}` === `${wanted}`;
    demand(isSame, () => `I2: the event at ${positionText(event)} is not what was ordered`);
    if (state !== 'streaming') continue;
    const commit = postgres.wal.find(({ commitLsn }) => commitLsn === event.commitLsn);
    const isThere = commit?.orders[event.ordinal] === order && commit.timeline === event.timeline;
    demand(isThere, () => `I2: the order of the event at ${positionText(event)} was committed elsewhere`);
  }
}

/** I5: one transaction's events lie in one Kafka transaction that its checkpoint covers, a partial one's rest follows. */
function judgeAtomicity(published: readonly Published[]): void {
  const closed = new Set<bigint>();
  for (const { events, checkpoint } of published) {
    if (checkpoint.state !== 'streaming') continue;
    const counts = new Map<bigint, number>();
    for (const { commitLsn } of events) counts.set(commitLsn, (counts.get(commitLsn) ?? 0) + 1);
    for (const [commitLsn] of counts) {
      demand(!closed.has(commitLsn), () => `I5: events of ${commitLsn} follow those that were all of it`);
      if (commitLsn === checkpoint.partialLsn) continue;
      closed.add(commitLsn);
      const isCovered = commitLsn < checkpoint.throughLsn;
      demand(isCovered, () => `I5: ${commitLsn} is published, the checkpoint ends before ${checkpoint.throughLsn}`);
    }
  }
}

/** I4: within a partition positions strictly increase, and each user's orders lie in the user's. */
function judgeOrder(kafka: ModelKafka): void {
  const partitions = kafka.topics.get(LIVE)!;
  for (const partition of partitions) {
    let before: OrderEvent | undefined;
    for (const { value, transaction } of kafka.read(partition, 0n, kafka.end(partition)).visible) {
      if (transaction.id === 0) continue;
      const event = readEvent(value)!;
      const isIncreasing = before === undefined || comparePlaces(before, event) < 0;
      demand(isIncreasing, () => `I4: ${positionText(event)} comes after ${positionText(before!)}`);
      const isUsers = partitionOf(event.userId, partitions.length) === partition.partition;
      demand(isUsers, () => `I4: the order at ${positionText(event)} is not in its user's partition`);
      before = event;
    }
  }
}
