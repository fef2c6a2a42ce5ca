// Replays over random workloads (I10): under an unchanged rule nothing changes, whatever users did to their carts; under
// another one, carts become what it would have left wherever their users have not edited that SKU since.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CartLine, type Rule, reduceCart } from '../../cart-sink/rule/reduce-cart.ts';
import type { OrderPlaced } from '../../schemas/order-placed.ts';
import { createEvent } from '../support/examples/sink-events.ts';
import { thorough } from '../support/thorough.ts';
import { createWorld, type World } from './reapply-model.ts';

type Reduce = Rule['reduce'];

const users = ['ada', 'bob'];
const skus = ['tea', 'milk'];
const user = fc.constantFrom(...users);
const sku = fc.constantFrom(...skus);
const place = { userId: user, sku };

/** Names the line that the `made`th operation made, if it made one. */
const item = fc.record({ sku, quantity: fc.integer({ min: 1, max: 6 }), made: fc.option(fc.nat(12)) });
const order = fc.record({
  userId: user,
  source: fc.constantFrom('cart', 'cart', 'cart', 'direct'),
  items: fc.array(item, { minLength: 1, maxLength: 3 }),
});
const add = fc.record({ kind: fc.constant('add' as const), ...place, quantity: fc.integer({ min: 1, max: 9 }) });
const edit = fc.record({ kind: fc.constant('edit' as const), ...place, quantity: fc.nat(12) });
const batch = fc.record({
  kind: fc.constant('batch' as const),
  orders: fc.array(order, { minLength: 1, maxLength: 3 }),
  /** Published, and lost on the way to the ledger. */
  missed: fc.boolean(),
  race: fc.option(add),
});
const replay = fc.record({
  kind: fc.constant('replay' as const),
  from: fc.nat(12),
  count: fc.integer({ min: 1, max: 12 }),
  size: fc.integer({ min: 1, max: 5 }),
});

type Operation =
  typeof add extends fc.Arbitrary<infer A>
    ?
        | A
        | (typeof edit extends fc.Arbitrary<infer E> ? E : never)
        | (typeof batch extends fc.Arbitrary<infer B> ? B : never)
    : never;
type Replay = typeof replay extends fc.Arbitrary<infer R> ? R : never;

const idOf = (operation: number) => `line-${String(operation).padStart(3, '0')}`;

function createOrder({ userId, source, items }: typeof order extends fc.Arbitrary<infer O> ? O : never): OrderPlaced {
  return createEvent({
    userId,
    source,
    items: items.map(({ sku: wanted, quantity, made }, index) => ({
      lineNo: index + 1,
      sku: wanted,
      quantity,
      unitPriceCents: 1n,
      cartLineId: made === null ? null : idOf(made),
    })),
  });
}

/** Runs an operation; returns the orders that it published. */
function run(world: World, operation: Operation, index: number, reduce: Reduce, orders: readonly OrderPlaced[]): void {
  const { kind } = operation;
  if (kind === 'add') world.add(idOf(index), operation.userId, operation.sku, operation.quantity);
  else if (kind === 'edit') world.edit(operation.userId, operation.sku, operation.quantity);
  else if (!operation.missed) {
    const { race } = operation;
    const racing = race && (() => world.add(idOf(index), race.userId, race.sku, race.quantity));
    world.apply(orders, reduce, racing ?? undefined);
  }
}

function inChunks(orders: readonly OrderPlaced[], size: number, work: (chunk: readonly OrderPlaced[]) => void): void {
  for (let start = 0; start < orders.length; start += size) work(orders.slice(start, start + size));
}

const ordersOf = (operation: Operation | Replay): OrderPlaced[] =>
  operation.kind === 'batch' ? operation.orders.map(createOrder) : [];

const sumOfRemovals = (world: World): number => {
  const { ledger } = world.state() as { ledger: [string, { removals: { removed: number }[] }][] };
  return ledger.flatMap(([, { removals }]) => removals).reduce((sum, { removed }) => sum + removed, 0);
};
const sumOfLines = (world: World): number =>
  (world.state() as { lines: CartLine[] }).lines.reduce((sum, { quantity }) => sum + quantity, 0);

describe('a reapply under an unchanged rule', () => {
  it('changes nothing, in any range, any number of times, whatever users did to their carts', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(add, edit, batch, batch, replay), { maxLength: 14 }), (operations) => {
        const world = createWorld();
        const published: OrderPlaced[] = [];
        for (const [index, operation] of operations.entries()) {
          if (operation.kind !== 'replay') {
            const orders = ordersOf(operation);
            published.push(...orders);
            run(world, operation, index, reduceCart, orders);
            continue;
          }
          const { from, count, size } = operation;
          const range = published.slice(from, from + count);
          inChunks(range, size, (chunk) => world.apply(chunk, reduceCart));
          const before = world.state();
          inChunks(range, size, (chunk) => world.reapply(chunk, reduceCart));
          expect(world.state()).toEqual(before);
        }
        expect(sumOfLines(world) + sumOfRemovals(world)).toBe(world.broughtIn());
      }),
      { numRuns: thorough(3_000) },
    );
  });

  it('applies orders that the ledger lacks as a repair does', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(add, edit, batch, batch), { maxLength: 10 }),
        fc.integer({ min: 1, max: 5 }),
        (operations, size) => {
          const [one, other] = [createWorld(), createWorld()];
          const published = operations.map(ordersOf);
          for (const world of [one, other]) {
            for (const [index, operation] of operations.entries()) {
              run(world, operation, index, reduceCart, published[index]!);
            }
          }
          inChunks(published.flat(), size, (chunk) => one.apply(chunk, reduceCart));
          inChunks(published.flat(), size, (chunk) => other.reapply(chunk, reduceCart));
          expect(sumsByItem(other)).toEqual(sumsByItem(one));
          expect((other.state() as { lines: unknown }).lines).toEqual((one.state() as { lines: unknown }).lines);
        },
      ),
      { numRuns: thorough(1_000) },
    );
  });
});

function sumsByItem(world: World): Map<string, number> {
  const { ledger } = world.state() as { ledger: [string, { removals: { lineNo: number; removed: number }[] }][] };
  const sums = new Map<string, number>();
  for (const [orderId, { removals }] of ledger) {
    for (const { lineNo, removed } of removals) {
      const key = `${orderId} ${lineNo}`;
      sums.set(key, (sums.get(key) ?? 0) + removed);
    }
  }
  return sums;
}

type Distortion = (order: OrderPlaced) => OrderPlaced;
const distort =
  (how: Distortion): Reduce =>
  (lines, one) =>
    reduceCart(lines, how(one));
const timesItems =
  (times: (quantity: number) => number): Distortion =>
  (one) => ({
    ...one,
    items: one.items.map((each) => ({ ...each, quantity: times(each.quantity) })),
  });

/** Rules that take from every order no less than the right one, or no more. */
const oneSided: Record<string, Reduce> = {
  'takes double': distort(timesItems((quantity) => quantity * 2)),
  'takes one too many': distort(timesItems((quantity) => quantity + 1)),
  'takes nothing': distort((one) => ({ ...one, source: 'direct' })),
  'takes half, at least one': distort(timesItems((quantity) => Math.ceil(quantity / 2))),
  'ignores the lines that items name': distort((one) => ({
    ...one,
    items: one.items.map((each) => ({ ...each, cartLineId: null })),
  })),
  'treats direct orders as from the cart': distort((one) => ({ ...one, source: 'cart' })),
};
/** And one that takes more for some and less for others. */
const twoSided = distort(timesItems((quantity) => (quantity % 2 === 0 ? quantity * 2 : Math.ceil(quantity / 2))));

/** Users and SKUs that nobody has edited since the first order of them. */
function listUntouched(operations: readonly Operation[]): { userId: string; sku: string }[] {
  const places = users.flatMap((userId) => skus.map((one) => ({ userId, sku: one })));
  return places.filter((at) => {
    const isAt = (one: { userId: string; sku: string }) => one.userId === at.userId && one.sku === at.sku;
    const first = operations.findIndex(
      (one) =>
        one.kind === 'batch' &&
        one.orders.some(({ userId, items }) => items.some((each) => isAt({ userId, sku: each.sku }))),
    );
    return operations.every((one, index) => {
      if (first === -1) return true;
      if (one.kind === 'batch') return index < first || one.race === null || !isAt(one.race);
      return index < first || !isAt(one);
    });
  });
}

const present = fc.oneof(
  add,
  edit,
  batch.map((one) => ({ ...one, missed: false })),
  batch.map((one) => ({ ...one, missed: false })),
);

function replayUnder(
  operations: readonly Operation[],
  size: number,
  { before, after, passes }: { before: Reduce; after: Reduce; passes: number },
) {
  const [world, wanted] = [createWorld(), createWorld()];
  const published = operations.map(ordersOf);
  for (const [index, operation] of operations.entries()) {
    run(world, operation, index, before, published[index]!);
    run(wanted, operation, index, after, published[index]!);
  }
  for (let pass = 0; pass < passes; pass += 1) {
    inChunks(published.flat(), size, (chunk) => world.reapply(chunk, after));
  }
  return { world, wanted, orders: published.flat() };
}

describe('a reapply under another rule', () => {
  const both = Object.entries(oneSided).flatMap(([name, wrong]) => [
    { name: `the right one, after one that ${name}`, before: wrong, after: reduceCart as Reduce, passes: 1 },
    { name: `one that ${name}, after the right one`, before: reduceCart as Reduce, after: wrong, passes: 1 },
  ]);
  const mixed = [
    {
      name: 'the right one twice, after one that takes more and less',
      before: twoSided,
      after: reduceCart as Reduce,
      passes: 2,
    },
    {
      name: 'one that takes more and less, twice, after the right one',
      before: reduceCart as Reduce,
      after: twoSided,
      passes: 2,
    },
  ];

  it.each([...both, ...mixed])('leaves what that rule would have left where nobody edited: $name', (rules) => {
    fc.assert(
      fc.property(fc.array(present, { maxLength: 12 }), fc.integer({ min: 1, max: 5 }), (operations, size) => {
        const { world, wanted } = replayUnder(operations, size, rules);
        for (const { userId, sku: one } of listUntouched(operations)) {
          expect(`${userId} ${one} ${world.quantity(userId, one)}`).toBe(
            `${userId} ${one} ${wanted.quantity(userId, one)}`,
          );
        }
        expect(sumOfLines(world) + sumOfRemovals(world)).toBe(world.broughtIn());
      }),
      { numRuns: thorough(400) },
    );
  });

  it.each([...both, ...mixed])('changes nothing any more once it is through, edits or not: $name', (rules) => {
    const tail = fc.array(fc.oneof(add, edit, replay), { maxLength: 6 });
    fc.assert(
      fc.property(
        fc.array(present, { maxLength: 12 }),
        tail,
        fc.integer({ min: 1, max: 5 }),
        (operations, later, size) => {
          const { world, orders } = replayUnder(operations, size, rules);
          for (const [index, operation] of later.entries()) {
            if (operation.kind !== 'replay') {
              run(world, operation, operations.length + index, rules.after, []);
              continue;
            }
            const before = world.state();
            const range = orders.slice(operation.from, operation.from + operation.count);
            inChunks(range, operation.size, (chunk) => world.reapply(chunk, rules.after));
            expect(world.state()).toEqual(before);
          }
        },
      ),
      { numRuns: thorough(400) },
    );
  });
});
