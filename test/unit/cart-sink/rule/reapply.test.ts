// Reapplying one order, case by case: where goods are given back to, what may be taken, and what is recorded.
import { describe, expect, it } from 'vitest';
import type { StoredLine } from '../../../../cart-sink/rule/cart-state.ts';
import { type AppliedOrder, reapplyOrders } from '../../../../cart-sink/rule/reapply.ts';
import { MOST_OF_A_LINE, type Rule, reduceCart } from '../../../../cart-sink/rule/reduce-cart.ts';
import type { OrderPlaced } from '../../../../schemas/order-placed.ts';
import { createEvent } from '../../../support/examples/sink-events.ts';

/** Sees transactions before 100, 101 excepted in any case. */
const snapshot = '100:102:101';
const line = (lineId: string, quantity: number, more: Partial<StoredLine> = {}): StoredLine => ({
  lineId,
  userId: 'ada',
  sku: 'tea',
  quantity,
  createdXid: '50',
  ...more,
});
const order = (quantity: number, cartLineId: string | null = null): OrderPlaced =>
  createEvent({ userId: 'ada', items: [{ lineNo: 1, sku: 'tea', quantity, unitPriceCents: 1n, cartLineId }] });
const took = (lineId: string | null, removed: number, entry = 0, lineCreatedXid: string | null = '50') => ({
  lineNo: 1,
  entry,
  lineId,
  lineCreatedXid,
  removed,
});
const applied = (...removals: AppliedOrder['removals']): AppliedOrder => ({ snapshot, removals });

function reapply(
  lines: readonly StoredLine[],
  one: OrderPlaced,
  past: AppliedOrder,
  reduce: Rule['reduce'] = reduceCart,
) {
  const { entries: all, lines: changed } = reapplyOrders(lines, [{ order: one, applied: past }], reduce);
  const entries = all[0]!.map(({ entry, lineId, removed, outcome }) => ({ entry, lineId, removed, outcome }));
  return { entries, changed };
}

describe('goods taken in excess', () => {
  it('go back to the line that they were taken from, if it is live', () => {
    expect(reapply([line('old', 1)], order(2), applied(took('old', 4)))).toEqual({
      entries: [{ entry: 1, lineId: 'old', removed: -2, outcome: 'removed' }],
      changed: [line('old', 3)],
    });
  });

  it('else to the live line that the user has of the SKU', () => {
    expect(reapply([line('new', 1, { createdXid: '200' })], order(2), applied(took('old', 4)))).toEqual({
      entries: [{ entry: 1, lineId: 'new', removed: -2, outcome: 'removed' }],
      changed: [line('new', 3, { createdXid: '200' })],
    });
  });

  it('else the line comes back, with its id and its age', () => {
    expect(reapply([], order(2), applied(took('old', 4)))).toEqual({
      entries: [{ entry: 1, lineId: 'old', removed: -2, outcome: 'removed' }],
      changed: [line('old', 2)],
    });
  });

  it('of entries that kept no age come back old enough for all who saw what their order saw', () => {
    const { changed } = reapply([], order(2), applied(took('old', 4, 0, null)));
    expect(changed).toEqual([line('old', 2, { createdXid: '99' })]);
  });

  it('go back as far as a line may hold them; the rest later, when there is room', () => {
    const full = line('new', MOST_OF_A_LINE - 1, { createdXid: '200' });
    const first = reapply([full], order(2), applied(took('old', 5)));
    expect(first.entries).toMatchObject([{ lineId: 'new', removed: -1 }]);
    const past = applied(took('old', 5), took('new', -1, 1, '200'));
    expect(reapply([line('new', MOST_OF_A_LINE, { createdXid: '200' })], order(2), past).entries).toEqual([]);
    const roomy = line('new', 7, { createdXid: '200' });
    expect(reapply([roomy], order(2), past).entries).toMatchObject([{ entry: 2, lineId: 'new', removed: -2 }]);
  });

  it('for a name that is not the user’s are recorded as a mismatch', () => {
    const bobs = line('bobs', 3, { userId: 'bob' });
    expect(reapply([line('old', 1), bobs], order(2, 'bobs'), applied(took('old', 2)))).toEqual({
      entries: [{ entry: 1, lineId: 'old', removed: -2, outcome: 'mismatch' }],
      changed: [line('old', 3)],
    });
  });
});

describe('goods that an order should have taken', () => {
  it('are taken from the line that it could see, as far as they are there', () => {
    expect(reapply([line('old', 1)], order(5), applied(took('old', 2)))).toEqual({
      entries: [{ entry: 1, lineId: 'old', removed: 1, outcome: 'partial' }],
      changed: [line('old', 0)],
    });
  });

  it('are never taken from a line that it could not see', () => {
    for (const createdXid of ['101', '102', '500']) {
      expect(reapply([line('new', 9, { createdXid })], order(2), applied(took(null, 0))).entries).toEqual([]);
      expect(reapply([line('new', 9, { createdXid })], order(5, 'new'), applied(took(null, 0))).entries).toEqual([]);
    }
    expect(reapply([line('seen', 9, { createdXid: '99' })], order(2), applied(took(null, 0))).entries).toHaveLength(1);
  });

  it('are never taken from the user’s next line in place of the one that is gone', () => {
    const greedy: Rule['reduce'] = (lines, one) => {
      const { removals } = reduceCart(lines, one);
      return { changes: [], removals: removals.map((row) => ({ ...row, removed: row.removed + 3 })) };
    };
    const next = line('new', 9, { createdXid: '200' });
    expect(reapply([next], order(2), applied(took('old', 2)), greedy).entries).toEqual([]);
  });

  it('are taken back from the line that got them, no more than that', () => {
    const past = applied(took('old', 4), took('new', -2, 1, '200'));
    const got = line('new', 9, { createdXid: '200' });
    expect(reapply([got], order(4), past).entries).toMatchObject([{ entry: 2, lineId: 'new', removed: 2 }]);
    const little = line('new', 1, { createdXid: '200' });
    expect(reapply([little], order(4), past).entries).toMatchObject([{ entry: 2, lineId: 'new', removed: 1 }]);
  });
});

it('an order that gave back to the user’s next line is still about the line that it reduced', () => {
  const past = applied(took('old', 4), took('new', -2, 1, '200'));
  expect(reapply([line('new', 2, { createdXid: '200' })], order(2), past).entries).toEqual([]);
  expect(reapply([], order(2), past).entries).toEqual([]);
});

it('a line that came back is not for an order that reduced the one made after it', () => {
  const items = ['old', null].map((cartLineId, index) => ({
    lineNo: index + 1,
    sku: 'tea',
    quantity: 1,
    unitPriceCents: 1n,
    cartLineId,
  }));
  const past = applied({ ...took(null, 0), lineNo: 1 }, { ...took('next', 1, 0, '60'), lineNo: 2 });
  expect(reapply([line('old', 5)], createEvent({ userId: 'ada', items }), past).entries).toEqual([]);
});

it('what one item gives back in an order, another may take', () => {
  const items = [3, 1].map((quantity, index) => ({
    lineNo: index + 1,
    sku: 'tea',
    quantity,
    unitPriceCents: 1n,
    cartLineId: null,
  }));
  const past = applied({ ...took('old', 1), lineNo: 1 }, { ...took('old', 3), lineNo: 2 });
  const { entries, lines } = reapplyOrders(
    [],
    [{ order: createEvent({ userId: 'ada', items }), applied: past }],
    reduceCart,
  );
  expect(entries[0]!.map(({ lineNo, removed }) => [lineNo, removed]).toSorted()).toEqual([
    [1, 2],
    [2, -2],
  ]);
  expect(lines).toEqual([line('old', 0)]);
});

it('an order that comes twice takes effect once, also when it is new', () => {
  const one = order(2);
  const input = { order: one, applied: undefined };
  const { entries, lines } = reapplyOrders([line('old', 9)], [input, input], reduceCart);
  expect(
    entries.map((one) => one.map(({ entry, removed, lineCreatedXid }) => ({ entry, removed, lineCreatedXid }))),
  ).toEqual([[{ entry: 0, removed: 2, lineCreatedXid: '50' }], []]);
  expect(lines).toEqual([line('old', 7)]);
});
