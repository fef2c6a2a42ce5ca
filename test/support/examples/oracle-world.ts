// A small world for the oracle in which every order was published and applied once, and its pieces, for tests that
// falsify one of them. The events are written by the program's own codec and read by the oracle's decoder.

import { toLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { partitionOf } from '../oracle/event.ts';
import type { CartFacts, Facts, OrderFact } from '../oracle/facts.ts';
import type { CartHistory } from '../oracle/judge-carts.ts';
import { judge } from '../oracle/oracle.ts';
import type { PartitionLog, RawRecord } from '../oracle/read-topic.ts';
import { encodeOrderPlaced } from './encode-order-placed.ts';
import { createEvent } from './order-placed-events.ts';

export type Mutable<T> = T extends bigint | string | number | boolean | Buffer | null | undefined | ReadonlySet<string>
  ? T
  : { -readonly [K in keyof T]: Mutable<T[K]> };

export const uuid = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const userOf = (partition: number, from = 0): string => {
  for (let n = from; ; n += 1) if (partitionOf(`user-${n}`, 2) === partition) return `user-${n}`;
};
export const [alice, bob] = [userOf(0), userOf(1)];

// Transaction 700 holds two orders (one a user), 701 one of a named line and 702 a direct one.
export const order = (
  n: number,
  userId: string,
  xid: string,
  items: OrderFact['items'],
  source = 'cart',
): OrderFact => ({
  orderId: uuid(n),
  userId,
  source,
  currency: 'USD',
  totalCents: 12345678901234567n,
  placedAt: 1_700_000_000_000_001n + BigInt(n),
  xid,
  committedAt: undefined,
  items,
});
export const item = (lineNo: number, sku: string, quantity: number, cartLineId: string | null = null) => ({
  lineNo,
  sku,
  quantity,
  unitPriceCents: 250n,
  cartLineId,
});
export const orders = [
  order(1, alice, '700', [item(1, 'apple', 2), item(2, 'pear', 5)]),
  order(2, bob, '700', [item(1, 'apple', 1)]),
  order(3, alice, '701', [item(1, 'apple', 1, uuid(101))]),
  order(4, bob, '702', [item(1, 'apple', 1)], 'direct'),
];
export const places = [
  { commitLsn: 0x1_0000_0100n, ordinal: 0 },
  { commitLsn: 0x1_0000_0100n, ordinal: 1 },
  { commitLsn: 0x1_0000_0200n, ordinal: 0 },
  { commitLsn: 0x1_0000_0300n, ordinal: 0 },
];

export function encode(index: number, change: Partial<OrderPlaced> = {}): Buffer {
  const { xid: _, committedAt: __, ...fact } = orders[index]!;
  const { commitLsn, ordinal } = places[index]!;
  const committedAt = 1_700_000_000_000_000n;
  return encodeOrderPlaced({
    ...createEvent(),
    ...fact,
    ordinal,
    committedAt,
    commitLsn: toLsn(commitLsn),
    ...change,
  });
}

export const record = (partition: number, offset: bigint, key: string, value: Buffer | null): RawRecord => ({
  partition,
  offset,
  timestampMs: 0,
  key: Buffer.from(key),
  value,
  producerId: 1n,
  producerEpoch: 0,
  transactional: true,
  outcome: 'committed',
});

export const checkpoint = (
  offset: bigint,
  commitLsn: string | null,
  ordinal: number,
  throughLsn: string,
  nextOffsets: string[],
  state = 'streaming',
) =>
  record(
    0,
    offset,
    'slot',
    Buffer.from(
      JSON.stringify({
        version: 1,
        state,
        timeline: 1,
        generation: 1,
        partitions: 2,
        lastPublished: commitLsn === null ? null : { commitLsn, ordinal, ordersHash: '0' },
        throughLsn,
        nextOffsets,
      }),
    ),
  );

export interface World {
  facts: Mutable<Facts> & { carts: Mutable<CartFacts> };
  history: Mutable<CartHistory>;
}

export const log = (partition: number, records: RawRecord[], end: bigint): PartitionLog => ({
  partition,
  earliest: 0n,
  lastStable: end,
  highWatermark: end,
  records,
});

/** Two partitions, four orders, three lines of which one is reduced, one emptied and one left alone. */
export function cleanWorld(): World {
  const ledger = orders.map(({ orderId, userId, source }, index) => ({
    orderId,
    userId,
    source,
    timeline: 1,
    ...places[index]!,
  }));
  const removal = (n: number, lineNo: number, lineId: string, sku: string, ordered: number, removed: number) => ({
    orderId: uuid(n),
    lineNo,
    lineId,
    sku,
    ordered,
    removed,
  });
  const facts: Facts = {
    orders,
    live: [
      log(0, [record(0, 0n, alice, encode(0)), record(0, 2n, alice, encode(2))], 4n),
      log(1, [record(1, 0n, bob, encode(1)), record(1, 2n, bob, encode(3))], 4n),
    ],
    checkpoints: [
      log(
        0,
        [
          checkpoint(0n, null, 0, '1/00000050', ['0', '0']),
          checkpoint(2n, '1/00000100', 1, '1/00000130', ['0', '0']),
          checkpoint(4n, '1/00000300', 0, '1/00000330', ['2', '2']),
        ],
        6n,
      ),
    ],
    slotName: 'slot',
    confirmedFlushLsn: 0x1_0000_0330n,
    carts: {
      ledger,
      removals: [
        removal(1, 1, uuid(101), 'apple', 2, 2),
        removal(1, 2, uuid(102), 'pear', 5, 4),
        removal(2, 1, uuid(103), 'apple', 1, 1),
        removal(3, 1, uuid(101), 'apple', 1, 1),
      ],
      lines: [
        { lineId: uuid(101), userId: alice, sku: 'apple', quantity: 7 },
        { lineId: uuid(103), userId: bob, sku: 'apple', quantity: 1 },
      ],
      offsets: [
        { partition: 0, nextOffset: 3n, last: { timeline: 1, ...places[2]! } },
        { partition: 1, nextOffset: 4n, last: { timeline: 1, ...places[3]! } },
      ],
      parked: [],
    },
  };
  const history: CartHistory = {
    opening: [
      { lineId: uuid(101), userId: alice, sku: 'apple', quantity: 8 },
      { lineId: uuid(102), userId: alice, sku: 'pear', quantity: 4 },
      { lineId: uuid(103), userId: bob, sku: 'apple', quantity: 2 },
    ],
    additions: [{ lineId: uuid(101), userId: alice, sku: 'apple', quantity: 2 }],
    appliedBefore: new Set(),
    edited: new Set(),
  };
  return structuredCloneWithBuffers({ facts, history }) as World;
}

function structuredCloneWithBuffers(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(structuredCloneWithBuffers);
  if (value instanceof Set) return new Set(value);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, structuredCloneWithBuffers(inner)]));
}

export function verdictAfter(falsify: (world: World) => void) {
  const world = cleanWorld();
  falsify(world);
  return judge(world.facts, world.history);
}

export const removeOrder = (world: World, n: number) => {
  for (const part of world.facts.live) part.records = part.records.filter(({ value }) => !value!.includes(uuid(n)));
};

export function changeCheckpoint({ facts }: World, index: number, change: Record<string, unknown>): void {
  const one = facts.checkpoints[0]!.records[index]!;
  one.value = Buffer.from(JSON.stringify({ ...JSON.parse(one.value!.toString()), ...change }));
}
