// The live topic as a source: the same keys, partitions and bytes, and which ranges it covers. Guarantees: each partition in its
// own order; reading from a chunk's cursor (the next offset of each partition) gives exactly the rest. Partitions are read in
// turns, so that all sinks get work; nothing is merged across them.

import type { KafkaLog } from '#kafka/reading/log.ts';
import type { LsnRange } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { JsonValue } from '#schemas/replay/plan.ts';
import { coversRange } from '../../../cdc-reader/replay-window/kafka-coverage.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';
import { formatRange } from '../../repairs.ts';
import { findFirstEvent, readEvent, readStableOffsets } from './live-records.ts';
import type { Coverage, ReplaySource, SourceChunk, SourceOrder } from './source.ts';

/** Orders of one chunk, over all partitions: a Kafka transaction holds whole chunks. */
const CHUNK_ORDERS = 1_000;

interface OffsetRange {
  readonly partition: number;
  readonly fromOffset: bigint;
  readonly untilOffset: bigint;
}

interface Slice {
  readonly orders: readonly SourceOrder[];
  readonly skipped: number;
  readonly nextOffset: bigint;
}

export function createKafkaSource(options: {
  readonly log: KafkaLog;
  readonly topic: string;
  /** Events of other generations are not in the range. */
  readonly generation: number;
  readonly range: LsnRange;
  /** Roughly the most orders in a chunk, over all partitions; 1,000 by default and at most. */
  readonly chunkOrders?: number | undefined;
}): ReplaySource {
  const { log, topic, generation, range } = options;
  const chunkOrders = Math.min(CHUNK_ORDERS, options.chunkOrders ?? CHUNK_ORDERS);

  async function findRanges(): Promise<OffsetRange[]> {
    const ranges = [...(await readStableOffsets(log, topic))].map(
      async ([partition, { earliest, lastStable: end }]) => {
        const find = (commitLsn: Lsn) =>
          findOffset(
            (fromOffset, untilOffset) => findFirstEvent(log, { topic, partition, fromOffset, untilOffset }),
            { earliest, end },
            { generation, commitLsn },
          );
        return { partition, fromOffset: await find(range.fromLsn), untilOffset: await find(range.toLsn) };
      },
    );
    return Promise.all(ranges);
  }

  async function* readSlices({ partition, fromOffset, untilOffset }: OffsetRange, most: number): AsyncGenerator<Slice> {
    const read = { topic, partition, fromOffset, untilOffset, isolation: 'read_committed' } as const;
    for await (const records of log.readRecords({ ...read, deadlineMs: READ_DEADLINE_MS })) {
      for (let start = 0; start < records.length; start += most) {
        const slice = records.slice(start, start + most);
        const orders = slice.flatMap((record): SourceOrder[] => {
          const event = readEvent(record);
          if (event === undefined) return [];
          return [{ partition, key: record.key?.toString('utf8') ?? event.userId, value: record.value!, event }];
        });
        yield { orders, skipped: slice.length - orders.length, nextOffset: slice.at(-1)!.offset + 1n };
      }
    }
  }

  async function* read(cursor: JsonValue | null, signal: AbortSignal): AsyncGenerator<SourceChunk, void, undefined> {
    const positions = parseKafkaCursor(cursor);
    const ranges = (await findRanges()).map((found) => ({
      ...found,
      fromOffset: positions.get(found.partition) ?? found.fromOffset,
    }));
    const most = Math.max(1, Math.floor(chunkOrders / ranges.length));
    for (const { partition, fromOffset } of ranges) positions.set(partition, fromOffset);
    let open = ranges.map((found) => ({ partition: found.partition, slices: readSlices(found, most) }));
    while (open.length > 0) {
      signal.throwIfAborted();
      const turns = await Promise.all(open.map(async (reader) => ({ reader, turn: await reader.slices.next() })));
      open = turns.filter(({ turn }) => turn.done !== true).map(({ reader }) => reader);
      const orders: SourceOrder[] = [];
      let skipped = 0;
      for (const { reader, turn } of turns) {
        if (turn.done === true) continue;
        for (const order of turn.value.orders) orders.push(order);
        skipped += turn.value.skipped;
        positions.set(reader.partition, turn.value.nextOffset);
      }
      if (orders.length > 0 || skipped > 0) yield { orders, skipped, cursor: formatKafkaCursor(positions) };
    }
  }
  return { kind: 'kafka', read };
}

/** The next offset of each partition, as text. */
export function formatKafkaCursor(positions: ReadonlyMap<number, bigint>): JsonValue {
  return Object.fromEntries([...positions].map(([partition, offset]) => [String(partition), String(offset)]));
}

/** Empty for null: from the beginning. @throws Error for a cursor of another source */
export function parseKafkaCursor(cursor: JsonValue | null): Map<number, bigint> {
  const isObject = typeof cursor === 'object' && !Array.isArray(cursor);
  const entries: [string, unknown][] = isObject ? Object.entries(cursor ?? {}) : [['', cursor]];
  return new Map(
    entries.map(([partition, offset]) => {
      if (!/^\d+$/.test(partition) || typeof offset !== 'string' || !/^\d+$/.test(offset)) {
        throw new Error(`${JSON.stringify(cursor)} is no cursor of a replay from Kafka.`);
      }
      return [Number(partition), BigInt(offset)];
    }),
  );
}

/** The first event in [fromOffset, untilOffset); null if there is none. */
type Probe = (
  fromOffset: bigint,
  untilOffset: bigint,
) => Promise<{ readonly offset: bigint; readonly event: Position } | null>;

type Position = Pick<OrderPlaced, 'generation' | 'commitLsn'>;

/**
 * A binary search by position, which increases within a partition (I4): the offset in [earliest, end] before which every
 * event was committed before `target`, and from which on none was. Events of older generations come before all of
 * `target`'s. Not by time: record times are the reader's clock. Offsets have gaps (control and aborted records), so a probe
 * returns the next event.
 */
export async function findOffset(
  probe: Probe,
  { earliest, end }: { readonly earliest: bigint; readonly end: bigint },
  target: Position,
): Promise<bigint> {
  let low = earliest;
  let high = end;
  while (low < high) {
    const middle = (low + high) / 2n;
    const found = await probe(middle, high);
    if (found !== null && isBefore(found.event, target)) low = found.offset + 1n;
    // There is no event between the middle and the one found.
    else high = middle;
  }
  return low;
}

function isBefore(event: Position, target: Position): boolean {
  if (event.generation !== target.generation) return event.generation < target.generation;
  return event.commitLsn < target.commitLsn;
}

/** `oldestLsn`: from there on no partition has lost records, null if that is unknown. `gaps`: those an operator accepted. */
export function kafkaCoverage(
  topic: string,
  { oldestLsn, gaps, newestLsn }: { oldestLsn: Lsn | null; gaps: readonly LsnRange[]; newestLsn: Lsn },
): Coverage {
  if (oldestLsn === null) {
    const why = `${topic} has a partition without records, from which others may have been deleted`;
    return { kind: 'kafka', oldestLsn, newestLsn, why, covers: () => false };
  }
  const lastGap = gaps.reduce((end, { toLsn }) => maxLsn(end, toLsn), LSN_ZERO);
  const begin = oldestLsn === LSN_ZERO ? `${topic} has lost no record` : `retention has deleted the start of ${topic}`;
  return {
    kind: 'kafka',
    oldestLsn: maxLsn(oldestLsn, lastGap),
    newestLsn,
    why: gaps.length === 0 ? begin : `${begin}; accepted gaps: ${gaps.map(formatRange).join(', ')}`,
    covers: (range) => range.toLsn <= newestLsn && coversRange({ oldestLsn }, gaps, range),
  };
}
