// What interrupted attempts have published, merged with a new snapshot: nothing is published twice, and nothing is left out
// that the topic does not hold, however many attempts there were and however the orders lie.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LogRecord, ReadOptions } from '#kafka/reading/log.ts';
import { toLsn } from '#schemas/lsn.ts';
import { openPublishedOrders } from '../../../../../cdc-reader/startup/first-start/published-orders.ts';
import { encodeOrderPlaced } from '../../../../support/examples/encode-order-placed.ts';
import { createEvent } from '../../../../support/examples/sink-events.ts';

interface Order {
  readonly id: string;
  /** Seconds of a minute: many orders share one. */
  readonly second: number;
}

const uuid = (n: number) => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
const text = (second: number) => `2026-11-20 10:00:${String(second).padStart(2, '0')}+00`;
const micros = (second: number) => BigInt(Date.parse('2026-11-20T10:00:00Z') + second * 1_000) * 1_000n;
const row = ({ id, second }: Order) => ({ order_id: id, placed_at: text(second) }) as never;
const inSnapshotOrder = (orders: readonly Order[]) =>
  orders.toSorted((a, b) => a.second - b.second || (a.id < b.id ? -1 : 1));

/** A topic to which each attempt published these orders, in this order; a gap of offsets follows each transaction. */
function createTopic(attempts: readonly (readonly Order[])[], partitions = 2) {
  const logs: LogRecord[][] = Array.from({ length: partitions }, () => []);
  let offset = 0n;
  for (const [attempt, orders] of attempts.entries()) {
    for (const [ordinal, { id, second }] of orders.entries()) {
      const commitLsn = toLsn(BigInt(100 * (attempt + 1)));
      const event = createEvent({ orderId: id, commitLsn, ordinal, placedAt: micros(second), committedAt: 0n });
      offset += ordinal % 3 === 0 ? 2n : 1n;
      const partition = Number.parseInt(id.slice(-1), 16) % partitions;
      logs[partition]!.push({ offset, key: null, value: encodeOrderPlaced(event), headers: {} });
    }
  }
  const end = offset + 2n;
  return {
    readOffsets: async () =>
      new Map(logs.map((_, partition) => [partition, { earliest: 0n, lastStable: end, highWatermark: end }])),
    async *readRecords({ partition, fromOffset, untilOffset, maxBytes }: ReadOptions) {
      expect(maxBytes, 'of every run, a fetch is held in memory').toBeLessThanOrEqual(128 * 1024);
      const records = logs[partition]!.filter((one) => one.offset >= fromOffset && one.offset < untilOffset);
      for (let at = 0; at < records.length; at += 3) yield records.slice(at, at + 3);
    },
  };
}

async function leaveOut(attempts: readonly (readonly Order[])[], snapshot: readonly Order[], batchSize: number) {
  const published = await openPublishedOrders(createTopic(attempts), 'live', 1_000);
  const left: string[] = [];
  for (let at = 0; at < snapshot.length; at += batchSize) {
    const orders = await published.leaveOut(snapshot.slice(at, at + batchSize).map(row));
    left.push(...orders.map(({ order_id }) => order_id!));
  }
  return left;
}

const order = (n: number, second: number): Order => ({ id: uuid(n), second });

describe('what earlier attempts of a first start have published', () => {
  it('is left out, and orders that came since are not, wherever they lie', async () => {
    const attempt = [order(1, 1), order(3, 1), order(5, 2)];
    const snapshot = [order(0, 0), order(1, 1), order(2, 1), order(3, 1), order(4, 2), order(5, 2), order(6, 3)];
    expect(await leaveOut([attempt], snapshot, 2)).toEqual([uuid(0), uuid(2), uuid(4), uuid(6)]);
  });

  it('may hold orders that the snapshot lacks', async () => {
    expect(await leaveOut([[order(1, 1), order(2, 2)]], [order(2, 2), order(3, 3)], 1)).toEqual([uuid(3)]);
  });

  it('is nothing in an empty topic, and leaves a batch as it is whose times no event can hold', async () => {
    expect(await leaveOut([], [order(1, 1)], 1)).toEqual([uuid(1)]);
    const published = await openPublishedOrders(createTopic([[order(1, 1)]]), 'live', 1_000);
    const odd = [{ order_id: uuid(1), placed_at: 'infinity' } as never];
    expect(await published.leaveOut(odd)).toBe(odd);
  });

  it('never loses an order by a run that is out of order', async () => {
    const left = await leaveOut([[order(5, 9), order(1, 1)]], [order(1, 1), order(2, 2), order(5, 9)], 3);
    expect(left).toContain(uuid(2));
  });

  it('is exactly what the topic holds, over random attempts, deletions and late orders', async () => {
    const orders = fc.uniqueArray(fc.record({ n: fc.nat(200), second: fc.nat(5) }), {
      selector: ({ n }) => n,
      maxLength: 40,
    });
    await fc.assert(
      fc.asyncProperty(
        orders,
        fc.array(fc.tuple(fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }), fc.nat(40)), { maxLength: 4 }),
        fc.integer({ min: 1, max: 7 }),
        async (generated, attempts, batchSize) => {
          const all = inSnapshotOrder(generated.map(({ n, second }) => order(n, second)));
          const published = new Set<string>();
          const runs: Order[][] = [];
          // Each attempt sees some of the orders, publishes those that are missing, and is killed after a few.
          for (const [sees, count] of attempts) {
            const run = all.filter(({ id }, index) => sees[index]! && !published.has(id)).slice(0, count);
            for (const { id } of run) published.add(id);
            runs.push(run);
          }
          const expected = all.filter(({ id }) => !published.has(id)).map(({ id }) => id);
          expect(await leaveOut(runs, all, batchSize)).toEqual(expected);
        },
      ),
      { numRuns: 300 },
    );
  });
});
