// What earlier, interrupted attempts of the first start have published, so that the next one does not publish it again and
// does not read its items. Every attempt publishes in the order of its snapshot (placed_at, order_id), under one position: in
// each partition an attempt is one sorted run of records. The runs are merged with the new snapshot, which comes in the same
// order, so that memory does not grow with the shop. Guarantees (I1): an order is left out only if its very id was read from
// the topic as committed; whatever goes wrong with the order of the runs can publish one twice, and never lose one.
import type { KafkaLog, LogRecord } from '#kafka/reading/log.ts';
import type { ContractRow } from '#schemas/contract-tables.ts';
import { comparePositions } from '#schemas/position.ts';
import { parseTimestampMicros } from '../../encode/read-numbers.ts';
import { readEvent, refuseBatch } from '../live-topic.ts';

/**
 * Of each run one fetch is held, decoded: about four times this, for every partition and every attempt that published, in a heap
 * of 160 MB. Fetches of 4 MB exhausted it with six partitions.
 */
const FETCH_BYTES = 128 * 1024;

type Log = Pick<KafkaLog, 'readOffsets' | 'readRecords'>;
type OrderRow = ContractRow<'orders'>;

export interface PublishedOrders {
  /** Those of `orders` that the topic does not hold. They must come in the snapshot's order, call by call. */
  leaveOut(orders: readonly OrderRow[]): Promise<readonly OrderRow[]>;
}

/** The place of an order in a snapshot. Ids are compared as Postgres compares uuids: their text is lower-case. */
interface Place {
  readonly placedAt: bigint;
  readonly orderId: string;
}

function comparePlaces(a: Place, b: Place): number {
  if (a.placedAt !== b.placedAt) return a.placedAt < b.placedAt ? -1 : 1;
  return a.orderId === b.orderId ? 0 : a.orderId < b.orderId ? -1 : 1;
}

export const NOTHING_PUBLISHED: PublishedOrders = { leaveOut: async (orders) => orders };

/** `deadlineMs`: see KafkaLog. @throws LiveTopicChangedError for a record that no reader wrote */
export async function openPublishedOrders(log: Log, topic: string, deadlineMs: number): Promise<PublishedOrders> {
  const runs: Run[] = [];
  for (const [partition, { earliest, highWatermark }] of await log.readOffsets(topic, deadlineMs)) {
    runs.push(...(await findRuns(log, { topic, partition, earliest, end: highWatermark, deadlineMs })));
  }
  return {
    async leaveOut(orders) {
      const last = orders.at(-1);
      // A batch with a time that no event can hold is refused as it is.
      const through = last === undefined ? undefined : placeOf(last);
      if (through === undefined) return orders;
      const wanted = new Set(orders.map(({ order_id }) => order_id!));
      await Promise.all(runs.map((run) => run.takeThrough(through, wanted)));
      return orders.filter(({ order_id }) => wanted.has(order_id!));
    },
  };
}

function placeOf({ placed_at, order_id }: OrderRow): Place | undefined {
  try {
    return { placedAt: parseTimestampMicros(placed_at), orderId: order_id! };
  } catch {
    return undefined; // reported with its column where its event is built
  }
}

/** One attempt's records of one partition, read once, from the first to the last. */
class Run {
  readonly #records: AsyncIterator<readonly LogRecord[]>;
  readonly #read: (record: LogRecord) => Place;
  #chunk: readonly Place[] = [];
  #at = 0;

  constructor(records: AsyncIterator<readonly LogRecord[]>, read: (record: LogRecord) => Place) {
    this.#records = records;
    this.#read = read;
  }

  /** Takes the ids of this run up to `through`, inclusive, out of `wanted`. */
  async takeThrough(through: Place, wanted: Set<string>): Promise<void> {
    for (;;) {
      for (; this.#at < this.#chunk.length; this.#at += 1) {
        const place = this.#chunk[this.#at]!;
        if (comparePlaces(place, through) > 0) return;
        wanted.delete(place.orderId);
      }
      const next = await this.#records.next();
      if (next.done === true) return;
      this.#chunk = next.value.map(this.#read);
      this.#at = 0;
    }
  }
}

interface PartitionRange {
  readonly topic: string;
  readonly partition: number;
  readonly earliest: bigint;
  /** Exclusive. */
  readonly end: bigint;
  readonly deadlineMs: number;
}

/** An attempt has one position, of a timeline and a consistent point, and each attempt's is beyond the one before. */
async function findRuns(log: Log, { topic, partition, earliest, end, deadlineMs }: PartitionRange): Promise<Run[]> {
  const read = (record: LogRecord) => readEvent(topic, partition, record);
  const recordsOf = async function* (fromOffset: bigint, untilOffset: bigint) {
    const range = { topic, partition, fromOffset, untilOffset, deadlineMs, maxBytes: FETCH_BYTES } as const;
    try {
      yield* log.readRecords({ ...range, isolation: 'read_committed' });
    } catch (error) {
      refuseBatch(topic, partition, error);
    }
  };
  const firstFrom = async (offset: bigint) => {
    for await (const [record] of recordsOf(offset, end)) return { offset: record!.offset, event: read(record!) };
    return undefined;
  };
  /** Without the rest of the event, which would be held as long. */
  const readPlace = (record: LogRecord): Place => {
    const { placedAt, orderId } = read(record);
    return { placedAt, orderId };
  };
  const runs: Run[] = [];
  for (let first = await firstFrom(earliest); first !== undefined; ) {
    const position = { ...first.event, ordinal: 0 };
    let [within, behind] = [first.offset, end];
    // What begins at or after `behind` is of a later attempt; the record at `within` is of this one.
    while (behind - within > 1n) {
      const middle = within + (behind - within) / 2n;
      const found = await firstFrom(middle);
      if (found === undefined || comparePositions({ ...found.event, ordinal: 0 }, position) > 0) behind = middle;
      else within = found.offset;
    }
    runs.push(new Run(recordsOf(first.offset, behind), readPlace));
    first = await firstFrom(behind);
  }
  return runs;
}
