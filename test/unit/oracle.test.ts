// The judge must be able to convict: a small clean world is judged clean, and each single falsification of it is named
// under the invariant that it breaks. The events are written by the program's own codec and read by the oracle's decoder.

import { describe, expect, test } from 'vitest';
import { encodeOrderPlaced } from '#schemas/codec.ts';
import { toLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { createEvent } from '../support/examples/order-placed-events.ts';
import { cartKey } from '../support/oracle/cart-model.ts';
import { partitionOf } from '../support/oracle/event.ts';
import type { CartFacts, Facts, OrderFact } from '../support/oracle/facts.ts';
import type { CartHistory } from '../support/oracle/judge-carts.ts';
import { judge } from '../support/oracle/oracle.ts';
import type { PartitionLog, RawRecord } from '../support/oracle/read-topic.ts';
import { assertClean, formatVerdict, type InvariantId } from '../support/oracle/verdict.ts';

type Mutable<T> = T extends bigint | string | number | boolean | Buffer | null | undefined | ReadonlySet<string>
  ? T
  : { -readonly [K in keyof T]: Mutable<T[K]> };

const uuid = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const userOf = (partition: number, from = 0): string => {
  for (let n = from; ; n += 1) if (partitionOf(`user-${n}`, 2) === partition) return `user-${n}`;
};
const [alice, bob] = [userOf(0), userOf(1)];

// Transaction 700 holds two orders (one a user), 701 one of a named line and 702 a direct one.
const order = (n: number, userId: string, xid: string, items: OrderFact['items'], source = 'cart'): OrderFact => ({
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
const item = (lineNo: number, sku: string, quantity: number, cartLineId: string | null = null) => ({
  lineNo,
  sku,
  quantity,
  unitPriceCents: 250n,
  cartLineId,
});
const orders = [
  order(1, alice, '700', [item(1, 'apple', 2), item(2, 'pear', 5)]),
  order(2, bob, '700', [item(1, 'apple', 1)]),
  order(3, alice, '701', [item(1, 'apple', 1, uuid(101))]),
  order(4, bob, '702', [item(1, 'apple', 1)], 'direct'),
];
const places = [
  { commitLsn: 0x1_0000_0100n, ordinal: 0 },
  { commitLsn: 0x1_0000_0100n, ordinal: 1 },
  { commitLsn: 0x1_0000_0200n, ordinal: 0 },
  { commitLsn: 0x1_0000_0300n, ordinal: 0 },
];

function encode(index: number, change: Partial<OrderPlaced> = {}): Buffer {
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

const record = (partition: number, offset: bigint, key: string, value: Buffer | null): RawRecord => ({
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

const checkpoint = (
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

interface World {
  facts: Mutable<Facts> & { carts: Mutable<CartFacts> };
  history: Mutable<CartHistory>;
}

const log = (partition: number, records: RawRecord[], end: bigint): PartitionLog => ({
  partition,
  earliest: 0n,
  lastStable: end,
  highWatermark: end,
  records,
});

/** Two partitions, four orders, three lines of which one is reduced, one emptied and one left alone. */
function cleanWorld(): World {
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

function verdictAfter(falsify: (world: World) => void) {
  const world = cleanWorld();
  falsify(world);
  return judge(world.facts, world.history);
}

test('a world in which every order was published and applied once is clean, and something was looked at for each invariant', () => {
  const verdict = verdictAfter(() => undefined);
  assertClean(verdict);
  for (const [id, { checked }] of Object.entries(verdict.invariants)) expect(checked, id).toBeGreaterThan(0);
  expect(verdict.counts).toMatchObject({ orders: 4, 'records committed': 4, ledger: 4, 'items undetermined': 0 });
});

const removeOrder = (world: World, n: number) => {
  for (const part of world.facts.live) part.records = part.records.filter(({ value }) => !value!.includes(uuid(n)));
};

const falsifications: [string, InvariantId, RegExp, (world: World) => void][] = [
  ['a committed order is not published', 'I1', /committed and not published/, (w) => removeOrder(w, 3)],
  ['a published order is not applied', 'I1', /neither applied nor parked/, (w) => w.facts.carts.ledger.pop()],
  [
    'an order is only in an aborted transaction',
    'I1',
    /committed and not published/,
    (w) => {
      w.facts.live[0]!.records[1]!.outcome = 'aborted';
    },
  ],
  [
    'an unreadable record is not parked',
    'I1',
    /can't be read and is not parked/,
    (w) => w.facts.live[0]!.records.push({ ...record(0, 3n, alice, Buffer.from('garbage')) }),
  ],
  [
    'an event of ours is parked',
    'I1',
    /is parked and is an event of ours/,
    (w) => w.facts.carts.parked.push({ partition: 0, offset: 0n }),
  ],
  ['an order that did not commit is published', 'I2', /did not commit/, (w) => w.facts.orders.pop()],
  ['an event has another user than its row', 'I2', /differs in userId/, (w) => (w.facts.orders[0]!.userId = bob)],
  [
    'an event has another total than its row',
    'I2',
    /differs in totalCents/,
    (w) => (w.facts.orders[0]!.totalCents += 1n),
  ],
  ['an event has lost a microsecond', 'I2', /differs in placedAt/, (w) => (w.facts.orders[0]!.placedAt += 1n)],
  [
    'an event has another commit time than the server noted',
    'I2',
    /differs in committedAt/,
    (w) => (w.facts.orders[0]!.committedAt = 5n),
  ],
  ['an event lacks an item', 'I2', /differs in items/, (w) => w.facts.orders[0]!.items.push(item(3, 'fig', 1))],
  [
    'an item has another quantity',
    'I2',
    /differs in items\.1\.quantity/,
    (w) => (w.facts.orders[0]!.items[1]!.quantity = 6),
  ],
  [
    'an item has lost its cart line',
    'I2',
    /differs in items\.0\.cartLineId/,
    (w) => (w.facts.orders[2]!.items[0]!.cartLineId = null),
  ],
  [
    'the ledger has an order that was never published',
    'I2',
    /is applied and did not commit/,
    (w) => w.facts.carts.ledger.push({ ...w.facts.carts.ledger[0]!, orderId: uuid(9) }),
  ],
  [
    'goods are removed for an order that was never applied',
    'I2',
    /no applied order has it/,
    (w) => w.facts.carts.removals.push({ ...w.facts.carts.removals[0]!, orderId: uuid(9), removed: 0 }),
  ],
  ['a cart was reduced twice', 'I3', /holds 6 instead of 7/, (w) => (w.facts.carts.lines[0]!.quantity = 6)],
  ['a cart was not reduced', 'I3', /holds 8 instead of 7/, (w) => (w.facts.carts.lines[0]!.quantity = 8)],
  ['a line vanished', 'I3', /holds 0 instead of 1/, (w) => w.facts.carts.lines.pop()],
  [
    'a line appeared',
    'I3',
    /nobody put it into/,
    (w) => w.facts.carts.lines.push({ lineId: uuid(199), userId: bob, sku: 'fig', quantity: 1 }),
  ],
  [
    'a removal is recorded twice',
    'I3',
    /ordered 1 and removed 2/,
    (w) => w.facts.carts.removals.push({ ...w.facts.carts.removals[3]! }),
  ],
  [
    'an item removed less than there was, consistently',
    'I3',
    /removed 0 from no line, the model 1/,
    (w) => {
      w.facts.carts.removals.splice(2, 1);
      w.facts.carts.lines[1]!.quantity = 2;
    },
  ],
  [
    'a direct order reduced a cart, consistently',
    'I3',
    /removed 1 from .*, the model 0 from no line/,
    (w) => {
      w.facts.carts.removals.push({
        orderId: uuid(4),
        lineNo: 1,
        lineId: uuid(103),
        sku: 'apple',
        ordered: 1,
        removed: 1,
      });
      w.facts.carts.lines.pop();
    },
  ],
  [
    "another user's line was reduced, consistently",
    'I3',
    /removed 1 from .*103, the model 1 from .*101/,
    (w) => {
      w.facts.carts.removals[3]!.lineId = uuid(103);
      w.facts.carts.lines[0]!.quantity = 8;
      w.facts.carts.lines.pop();
    },
  ],
  [
    'an order is in the ledger twice',
    'I3',
    /holds an order twice/,
    (w) => w.facts.carts.ledger.push(w.facts.carts.ledger[0]!),
  ],
  [
    'an order is published twice',
    'I4',
    /is at partition 0 offset 2 and at partition 0 offset 3/,
    (w) => w.facts.live[0]!.records.push(record(0, 3n, alice, encode(2))),
  ],
  ['positions go back', 'I4', /position .* after/, (w) => w.facts.live[0]!.records.reverse()],
  [
    'an order lies in the partition of another user',
    'I4',
    /belongs to partition 0/,
    (w) => w.facts.live[1]!.records.push(record(1, 3n, alice, encode(2))),
  ],
  [
    'the key is not the user',
    'I4',
    /the key is not the user/,
    (w) => (w.facts.live[0]!.records[0]!.key = Buffer.from(bob)),
  ],
  ['half of a transaction is published', 'I5', /transaction 700 is torn: 1 of its 2/, (w) => removeOrder(w, 2)],
  [
    'a transaction lies at two positions',
    'I5',
    /transaction 700 is published at/,
    (w) => (w.facts.live[1]!.records[0]!.value = encode(1, { commitLsn: toLsn(0x1_0000_0150n) })),
  ],
  [
    'two transactions lie at one position',
    'I5',
    /transactions 700 and 701 share 1\/100/,
    (w) => {
      w.facts.live[0]!.records[1]!.value = encode(2, { commitLsn: toLsn(places[0]!.commitLsn), ordinal: 2 });
    },
  ],
  [
    'a transaction is numbered with a gap',
    'I5',
    /has ordinals 0,2/,
    (w) => (w.facts.live[1]!.records[0]!.value = encode(1, { ordinal: 2 })),
  ],
  [
    'a transaction never ended',
    'I5',
    /never ended/,
    (w) => w.facts.live[0]!.records.push({ ...record(0, 3n, alice, encode(2)), outcome: 'open' }),
  ],
  [
    'the checkpoint of the last transaction was aborted',
    'I5',
    /the checkpoint ends at 1\/00000100:1, the topic at 1:1\/300:0/,
    (w) => (w.facts.checkpoints[0]!.records[2]!.outcome = 'aborted'),
  ],
  ['the events that a checkpoint covers are missing', 'I5', /the checkpoint ends at/, (w) => removeOrder(w, 4)],
  [
    'events were visible before their checkpoint',
    'I5',
    /visible before the checkpoint/,
    (w) =>
      (w.facts.checkpoints[0]!.records[1]!.value = checkpoint(0n, '1/00000100', 1, '1/00000130', ['1', '0']).value),
  ],
  [
    'events became visible after their checkpoint',
    'I5',
    /became visible after the checkpoint/,
    (w) => {
      w.facts.checkpoints[0]!.records[2]!.value = checkpoint(0n, '1/00000300', 0, '1/00000330', ['0', '2']).value;
    },
  ],
  [
    'the checkpoint expects an offset beyond the end',
    'I5',
    /which ends at 4/,
    (w) =>
      (w.facts.checkpoints[0]!.records[2]!.value = checkpoint(0n, '1/00000300', 0, '1/00000330', ['5', '2']).value),
  ],
  [
    'a first start was not finished',
    'I5',
    /first start is unfinished: snapshot/,
    (w) => {
      const last = w.facts.checkpoints[0]!.records[2]!;
      last.value = checkpoint(0n, '1/00000300', 0, '1/00000330', ['2', '2'], 'snapshot').value;
    },
  ],
  ['there is no checkpoint', 'I5', /no checkpoint/, (w) => (w.facts.checkpoints = [])],
  [
    'the ledger is ahead of the stored offset',
    'I6',
    /is applied, the stored offset is 2/,
    (w) => (w.facts.carts.offsets[0]!.nextOffset = 2n),
  ],
  [
    'the stored offset is ahead of the ledger',
    'I6',
    /is not applied, the stored offset is 4/,
    (w) => w.facts.carts.ledger.pop(),
  ],
  [
    'the stored offset is beyond the end',
    'I6',
    /ends at 4, the stored offset is 5/,
    (w) => (w.facts.carts.offsets[0]!.nextOffset = 5n),
  ],
  [
    'the stored position is not the last one',
    'I6',
    /stores position/,
    (w) => (w.facts.carts.offsets[0]!.last!.ordinal = 1),
  ],
  ['the stored position is missing', 'I6', /stores position none/, (w) => (w.facts.carts.offsets[0]!.last = undefined)],
  ['the ledger notes another position', 'I6', /the ledger has order/, (w) => (w.facts.carts.ledger[0]!.ordinal = 1)],
  [
    'Postgres was told more than is published',
    'I7',
    /Postgres was told 1\/331/,
    (w) => (w.facts.confirmedFlushLsn = 0x1_0000_0331n),
  ],
  [
    'throughLsn does not cover the last commit',
    'I7',
    /does not cover/,
    (w) =>
      (w.facts.checkpoints[0]!.records[2]!.value = checkpoint(0n, '1/00000300', 0, '1/00000300', ['2', '2']).value),
  ],
  [
    'throughLsn went back',
    'I7',
    /went back from 1\/00000350/,
    (w) =>
      (w.facts.checkpoints[0]!.records[1]!.value = checkpoint(0n, '1/00000100', 1, '1/00000350', ['0', '0']).value),
  ],
];

describe('the oracle convicts when', () => {
  test.each(falsifications)('%s (%s)', (_, id, words, falsify) => {
    const verdict = verdictAfter(falsify);
    expect(verdict.clean).toBe(false);
    expect(verdict.invariants[id].first.join('\n'), formatVerdict(verdict)).toMatch(words);
    expect(() => assertClean(verdict)).toThrow(words);
  });
});

/** The transaction of order 3 lies in a gap that an operator has accepted: replayed from the tables, no position. */
function worldWithGap(): World {
  const world = cleanWorld();
  const { facts } = world;
  const second = 1_000_000n;
  const start = 1_700_000_000_000_000n;
  for (const [index, seconds] of [0n, 0n, 5n, 10n].entries()) {
    facts.orders[index]!.committedAt = start + seconds * second;
  }
  removeOrder(world, 3);
  facts.live[1]!.records[1]!.value = encode(3, { committedAt: start + 10n * second });
  const value = encode(2, { commitLsn: toLsn(0n), ordinal: 0, committedAt: orders[2]!.placedAt });
  facts.replayed = [log(0, [record(0, 0n, alice, value)], 2n)] as Mutable<PartitionLog[]>;
  Object.assign(facts.carts.ledger[2]!, { commitLsn: 0n, ordinal: 0 });
  facts.carts.offsets[0]!.last = { timeline: 1, ...places[0]! };
  facts.checkpoints[0]!.records = [
    checkpoint(0n, null, 0, '1/00000050', ['0', '0']),
    checkpoint(2n, '1/00000100', 1, '1/00000130', ['0', '0']),
    checkpoint(4n, '1/00000100', 1, '1/00000250', ['0', '0']), // an operator's, with the offsets of the last one
    checkpoint(6n, '1/00000300', 0, '1/00000330', ['2', '2']),
  ];
  for (const index of [2, 3])
    changeCheckpoint(world, index, { gaps: [{ fromLsn: '1/00000130', toLsn: '1/00000250' }] });
  return world;
}

function changeCheckpoint({ facts }: World, index: number, change: Record<string, unknown>): void {
  const one = facts.checkpoints[0]!.records[index]!;
  one.value = Buffer.from(JSON.stringify({ ...JSON.parse(one.value!.toString()), ...change }));
}

describe('the oracle excuses orders of an accepted gap, which come by a replay from the tables', () => {
  const judgeGap = (falsify: (world: World) => void) => {
    const world = worldWithGap();
    falsify(world);
    return judge(world.facts, world.history);
  };

  test('and only those', () => {
    const verdict = judgeGap(() => undefined);
    assertClean(verdict);
    expect(verdict.counts).toMatchObject({ gaps: 1, 'orders in gaps': 1, 'items undetermined': 0 });
  });

  test('and knows that they were applied before what committed after their replay', () => {
    const scarce = (world: World) => {
      // Alice's third order comes after the replay and finds nothing, since order 3 took the last apple.
      const { facts, history } = world;
      history.additions = [];
      history.opening[0]!.quantity = 3;
      facts.carts.lines.shift();
      const items = [item(1, 'apple', 1)];
      facts.orders.push({ ...order(5, alice, '703', items), items, committedAt: 1_700_000_011_000_000n });
      const { xid: _, ...fact } = facts.orders[4]!;
      const at = { commitLsn: toLsn(0x1_0000_0320n), ordinal: 0 };
      const event = { ...createEvent(), ...fact, ...at, committedAt: 1_700_000_011_000_000n };
      facts.live[0]!.records.push(record(0, 3n, alice, encodeOrderPlaced(event)));
      facts.carts.ledger.push({ orderId: uuid(5), userId: alice, source: 'cart', timeline: 1, ...at });
      facts.carts.offsets[0] = { partition: 0, nextOffset: 4n, last: { timeline: 1, ...at } };
      facts.checkpoints[0]!.records.push(checkpoint(8n, '1/00000320', 0, '1/00000330', ['3', '4']));
      changeCheckpoint(world, 4, { gaps: [{ fromLsn: '1/00000130', toLsn: '1/00000250' }] });
      changeCheckpoint(world, 3, { throughLsn: '1/00000310' });
      facts.carts.removals.push({
        orderId: uuid(5),
        lineNo: 1,
        lineId: null,
        sku: 'apple',
        ordered: 1,
        removed: 0,
      });
    };
    const unsure = judgeGap(scarce);
    assertClean(unsure);
    expect(unsure.counts['items undetermined']).toBe(2);
    const sure = judgeGap((world) => {
      scarce(world);
      world.history.gapsClosedAt = [0x1_0000_0310n];
    });
    assertClean(sure);
    expect(sure.counts['items undetermined']).toBe(0);
  });

  test('also two gaps that touch', () => {
    const gaps = [{ fromLsn: '1/00000130', toLsn: '1/00000260' }];
    assertClean(
      judgeGap((world) => {
        changeCheckpoint(world, 2, {
          gaps: [{ fromLsn: '1/00000130', toLsn: '1/00000180' }],
          throughLsn: '1/00000180',
        });
        const { records } = world.facts.checkpoints[0]!;
        records.splice(3, 0, { ...records[2]!, offset: 5n });
        changeCheckpoint(world, 3, { gaps, throughLsn: '1/00000260' });
        changeCheckpoint(world, 4, { gaps });
      }),
    );
  });

  test('also the rest of a huge transaction that was being published when it began', () => {
    const torn = (world: World) => {
      removeOrder(world, 2);
      const { facts } = world;
      facts.replayed![0]!.records.push(
        record(0, 1n, bob, encode(1, { commitLsn: toLsn(0n), ordinal: 1, committedAt: orders[1]!.placedAt })),
      );
      Object.assign(facts.carts.ledger[1]!, { commitLsn: 0n, ordinal: 1 });
      for (const index of [1, 2]) {
        changeCheckpoint(world, index, { lastPublished: { commitLsn: '1/00000100', ordinal: 0 } });
      }
      changeCheckpoint(world, 1, { throughLsn: '1/00000060' });
      for (const index of [2, 3]) {
        changeCheckpoint(world, index, { gaps: [{ fromLsn: '1/00000060', toLsn: '1/00000250' }] });
      }
    };
    const partial = { commitLsn: '1/00000100', ordinal: 0 };
    assertClean(
      judgeGap((world) => {
        torn(world);
        changeCheckpoint(world, 1, { partial });
      }),
    );
    const words = judgeGap(torn).invariants.I5.first.join();
    expect(words).toMatch(/transaction 700 is torn: 1 of its 2/);
    expect(words).toMatch(/is published and lies in a gap/);
  });

  test.each<[string, InvariantId, RegExp, (world: World) => void]>([
    [
      'no checkpoint knows of it',
      'I1',
      /committed and not published/,
      (w) => {
        for (const index of [2, 3]) changeCheckpoint(w, index, { gaps: [] });
      },
    ],
    [
      'it committed long before the gap',
      'I1',
      /committed and not published/,
      (w) => {
        w.facts.orders[2]!.committedAt! -= 7_000_000n;
      },
    ],
    [
      'it committed long after the gap',
      'I1',
      /committed and not published/,
      (w) => {
        w.facts.orders[2]!.committedAt! += 7_000_000n;
      },
    ],
    [
      "an operator's checkpoint says that more was published",
      'I5',
      /ended at 1\/00000100:1, an operator's/,
      (w) => changeCheckpoint(w, 2, { lastPublished: { commitLsn: '1/00000200', ordinal: 0 } }),
    ],
    ['it was not replayed', 'I1', /lies in a gap and was not replayed/, (w) => (w.facts.replayed = [])],
    [
      'it was replayed with a position, from elsewhere',
      'I1',
      /was not replayed/,
      (w) => {
        w.facts.replayed![0]!.records[0]!.value = encode(2);
      },
    ],
    ['it is not applied', 'I1', /replayed and not applied/, (w) => w.facts.carts.ledger.splice(2, 1)],
    [
      'it is applied at another place',
      'I6',
      /the ledger has order .* at 1:1\/200:0/,
      (w) => {
        w.facts.carts.ledger[2]!.commitLsn = 0x1_0000_0200n;
      },
    ],
    ['it was replayed with another user', 'I2', /differs in userId/, (w) => (w.facts.orders[2]!.userId = bob)],
    [
      'it removed less than there was, consistently',
      'I3',
      /removed 0 from no line, the model 1/,
      (w) => {
        w.facts.carts.removals.splice(3, 1);
        w.facts.carts.lines[0]!.quantity = 8;
      },
    ],
  ])('and convicts when %s', (_, id, words, falsify) => {
    const verdict = judgeGap(falsify);
    expect(verdict.invariants[id].first.join('\n'), formatVerdict(verdict)).toMatch(words);
  });
});

describe('the oracle does not convict when', () => {
  test('an unreadable record is parked', () => {
    const verdict = verdictAfter(({ facts }) => {
      facts.live[0]!.records.push(record(0, 3n, alice, Buffer.from('garbage')));
      facts.carts.offsets[0]!.nextOffset = 4n;
      facts.carts.parked.push({ partition: 0, offset: 3n });
    });
    assertClean(verdict);
  });

  test('an aborted copy of an event precedes the committed one', () => {
    const verdict = verdictAfter(({ facts }) => {
      facts.live[0]!.records.splice(1, 0, { ...record(0, 1n, alice, encode(2)), outcome: 'aborted' });
    });
    assertClean(verdict);
    expect(verdict.counts['records aborted']).toBe(1);
  });

  test('a snapshot numbers the orders of several transactions at one position', () => {
    const at = toLsn(0x1_0000_0300n);
    const verdict = verdictAfter(({ facts }) => {
      const snapshotOf = (index: number, ordinal: number) =>
        encode(index, { commitLsn: at, ordinal, committedAt: orders[index]!.placedAt });
      facts.live[0]!.records[0]!.value = snapshotOf(0, 0);
      facts.live[1]!.records[0]!.value = snapshotOf(1, 1);
      facts.live[0]!.records[1]!.value = snapshotOf(2, 2);
      facts.live[1]!.records[1]!.value = snapshotOf(3, 3);
      facts.checkpoints[0]!.records = [
        checkpoint(0n, null, 0, '0/0', [], 'intent'),
        checkpoint(2n, '1/00000300', 1, '0/0', [], 'snapshot'),
        checkpoint(4n, '1/00000300', 3, '0/0', [], 'snapshot'),
        checkpoint(6n, '1/00000300', 3, '1/00000301', ['4', '4']),
      ];
      facts.confirmedFlushLsn = at + 1n;
      for (const [index, entry] of facts.carts.ledger.entries()) {
        Object.assign(entry, { commitLsn: at, ordinal: index });
      }
      for (const [index, entry] of facts.carts.offsets.entries()) {
        Object.assign(entry.last!, { commitLsn: at, ordinal: index + 2 });
      }
    });
    assertClean(verdict);
  });

  test('goods were added while orders ran and it is unknown which came first', () => {
    const early = ({ facts, history }: World) => {
      history.additions.push({ lineId: uuid(104), userId: alice, sku: 'pear', quantity: 3 });
      facts.carts.lines.push({ lineId: uuid(104), userId: alice, sku: 'pear', quantity: 3 });
    };
    const verdict = verdictAfter(early);
    assertClean(verdict);
    expect(verdict.counts['items undetermined']).toBe(1);
    const lost = verdictAfter((world) => {
      early(world);
      world.facts.carts.lines.at(-1)!.quantity = 2;
    });
    expect(lost.invariants.I3.first.join()).toMatch(/holds 2 instead of 3/);
  });

  test('goods were added between two orders, the first of which would have taken them all', () => {
    const between = ({ facts, history }: World) => {
      history.opening = history.opening.filter(({ lineId }) => lineId !== uuid(101));
      facts.carts.removals = facts.carts.removals.filter(({ sku, orderId }) => orderId !== uuid(1) || sku !== 'apple');
      facts.carts.lines[0]!.quantity = 1;
    };
    assertClean(verdictAfter(between));
    const lost = verdictAfter((world) => {
      between(world);
      world.facts.carts.lines.shift();
    });
    expect(lost.invariants.I3.first.join()).toMatch(/holds 0 instead of 1/);
  });

  test('goods were added without an answer, and nobody knows the id of their line', () => {
    const unanswered = ({ facts, history }: World) => {
      history.additions = [];
      history.opening.shift();
      facts.carts.lines.shift();
      history.edited = new Set([cartKey(alice, 'apple')]);
    };
    assertClean(verdictAfter(unanswered));
    const elsewhere = verdictAfter((world) => {
      unanswered(world);
      world.history.edited = new Set([cartKey(bob, 'apple')]);
    });
    expect(elsewhere.invariants.I3.first.join()).toMatch(/which never was/);
  });

  test('a user edited a line while orders ran', () => {
    const verdict = verdictAfter(({ facts, history }) => {
      history.edited = new Set([cartKey(alice, 'apple')]);
      facts.carts.lines[0]!.quantity = 3;
    });
    assertClean(verdict);
  });
});

test('the murmur2 of the oracle gives the partitions of the Java client', () => {
  // From Apache Kafka's own UtilsTest.testMurmur2, as positive numbers modulo a million.
  const known: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ];
  for (const [text, hash] of known) expect(partitionOf(text, 1_000_000)).toBe((hash & 0x7fffffff) % 1_000_000);
});
