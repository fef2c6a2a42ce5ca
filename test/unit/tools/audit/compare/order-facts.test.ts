// How the audit finds the orders about which two databases disagree: the comparison of one order, the join of two sorted
// streams, and the tally.
import { describe, expect, it } from 'vitest';
import { groupByOrderId, mergeByOrderId } from '../../../../../tools/audit/compare/merge-join.ts';
import { type AppliedOrder, compareOrder, type PlacedOrder } from '../../../../../tools/audit/compare/order-facts.ts';
import { createTally, isClean } from '../../../../../tools/audit/compare/tally.ts';

const placed: PlacedOrder = {
  orderId: 'a1',
  userId: 'ada',
  source: 'cart',
  items: [
    { lineNo: 1, sku: 'tea', quantity: 2 },
    { lineNo: 2, sku: 'milk', quantity: 1 },
  ],
};
const removals = [
  { lineNo: 1, entry: 0, sku: 'tea', ordered: 2, removed: 2 },
  { lineNo: 2, entry: 0, sku: 'milk', ordered: 1, removed: 0 },
];
const ledger = { userId: 'ada', source: 'cart', ruleVersion: 1 };
const applied = { orderId: 'a1', ledger, removals };

describe('comparing one order', () => {
  it.each<[string, Partial<PlacedOrder>, Partial<typeof applied>, string[]]>([
    ['agrees, whatever the cart held', {}, {}, []],
    ['finds another user', {}, { ledger: { ...ledger, userId: 'bob' } }, ['user']],
    ['finds another source', {}, { ledger: { ...ledger, source: 'direct' } }, ['source']],
    ['finds an item that was not applied', {}, { removals: removals.slice(0, 1) }, ['item-without-removal']],
    [
      'finds an item of which only a later entry is there',
      {},
      {
        removals: [removals[0]!, { ...removals[1]!, entry: 1 }],
      },
      ['item-without-removal'],
    ],
    ['finds an item too many', { items: placed.items.slice(0, 1) }, {}, ['removal-without-item']],
    ['finds another SKU', {}, { removals: [{ ...removals[0]!, sku: 'rum' }, removals[1]!] }, ['sku']],
    ['finds another quantity', {}, { removals: [{ ...removals[0]!, ordered: 3 }, removals[1]!] }, ['ordered']],
    [
      'finds more removed than ordered',
      {},
      {
        removals: [removals[0]!, { ...removals[0]!, entry: 1, removed: 1 }, removals[1]!],
      },
      ['removed-out-of-range'],
    ],
    [
      'finds more given back than removed',
      {},
      {
        removals: [removals[0]!, { ...removals[0]!, entry: 1, removed: -3 }, removals[1]!],
      },
      ['removed-out-of-range'],
    ],
    [
      'agrees when a reapply gave something back',
      {},
      {
        removals: [removals[0]!, { ...removals[0]!, entry: 1, removed: -2 }, removals[1]!],
      },
      [],
    ],
    [
      'finds goods removed by a direct order',
      { source: 'direct' },
      { ledger: { ...ledger, source: 'direct' } },
      ['direct-removed'],
    ],
    [
      'agrees when a reapply gave back what a direct order took',
      { source: 'direct' },
      {
        ledger: { ...ledger, source: 'direct' },
        removals: [removals[0]!, { ...removals[0]!, entry: 1, removed: -2 }, removals[1]!],
      },
      [],
    ],
    [
      'finds several at once',
      { items: [] },
      { ledger: { userId: 'bob', source: 'direct', ruleVersion: 1 } },
      ['user', 'source', 'removal-without-item', 'removal-without-item'],
    ],
  ])('%s', (_, order, there, kinds) => {
    const found = compareOrder({ ...placed, ...order }, { ...applied, ...there }, 1);
    expect(found.map(({ kind }) => kind)).toEqual(kinds);
  });

  it.each<[string, number, typeof removals, string[]]>([
    ['not judged where an older rule recorded it', 0, [{ ...removals[0]!, ordered: 4, sku: 'rum' }], []],
    ["judged where today's rule recorded it", 1, [{ ...removals[0]!, ordered: 4 }], ['ordered']],
    [
      'not judged in an item that a reapply left',
      1,
      [
        { ...removals[0]!, ordered: 4 },
        { ...removals[1]!, ordered: 2, removed: 2 },
        { ...removals[1]!, entry: 1, removed: -1 },
      ],
      [],
    ],
    [
      'judged where a reapply recorded it',
      1,
      [
        { ...removals[0]!, ordered: 4, removed: 4 },
        { ...removals[0]!, ordered: 4, entry: 1, removed: -2 },
      ],
      ['ordered'],
    ],
    [
      'of no matter to what was removed in excess',
      0,
      [{ ...removals[0]!, ordered: 4, removed: 4 }],
      ['removed-out-of-range'],
    ],
  ])('takes what was ordered for %s', (_, ruleVersion, rows, kinds) => {
    const lines = new Set(rows.map(({ lineNo }) => lineNo));
    const all = [...rows, ...removals.filter(({ lineNo }) => !lines.has(lineNo))];
    const found = compareOrder(placed, { ...applied, ledger: { ...ledger, ruleVersion }, removals: all }, 1);
    expect(found.map(({ kind }) => kind)).toEqual(kinds);
  });

  it('names lines, SKUs and quantities, and no user', () => {
    const found = compareOrder(placed, { ...applied, ledger: { ...ledger, userId: 'bob' }, removals: [] }, 1);
    const words = found.map((one) => one.words).join('\n');
    expect(words).toContain('line 1 (2 of tea)');
    expect(words).not.toMatch(/ada|bob/);
  });
});

async function* stream<T>(elements: readonly T[]): AsyncGenerator<T, void, undefined> {
  yield* elements;
}
const keyed = (ids: string) => [...ids].map((orderId) => ({ orderId }));
async function pairs(left: string, right: string): Promise<string[]> {
  const found: string[] = [];
  for await (const joined of mergeByOrderId(stream(keyed(left)), stream(keyed(right)))) {
    found.push(`${joined.left?.orderId ?? '-'}${joined.right?.orderId ?? '-'}`);
  }
  return found;
}

describe('joining two sorted streams', () => {
  it.each([
    ['', '', []],
    ['ab', '', ['a-', 'b-']],
    ['', 'ab', ['-a', '-b']],
    ['ac', 'bc', ['a-', '-b', 'cc']],
    ['abcd', 'bd', ['a-', 'bb', 'c-', 'dd']],
    ['b', 'abc', ['-a', 'bb', '-c']],
  ])('gives each of %j and %j once', async (left, right, expected) => {
    expect(await pairs(left, right)).toEqual(expected);
  });

  it('throws on a stream that is not sorted, or that holds an id twice', async () => {
    await expect(pairs('ba', '')).rejects.toThrow('not sorted');
    await expect(pairs('', 'aa')).rejects.toThrow('two orders a');
  });

  it('gives parents their children, and children without a parent too', async () => {
    const parents = stream(keyed('ac'));
    const children = stream([...keyed('aab'), ...keyed('c')].map((child, index) => ({ ...child, index })));
    const found: string[] = [];
    for await (const { orderId, parent, children: own } of groupByOrderId(parents, children)) {
      found.push(`${orderId} ${parent === null ? 'no parent' : 'parent'} ${own.map(({ index }) => index).join('')}`);
    }
    expect(found).toEqual(['a parent 01', 'b no parent 2', 'c parent 3']);
  });
});

describe('the tally', () => {
  const stray: AppliedOrder = { orderId: 'a1', ledger: null, removals };
  it('counts every kind, and is clean only when nothing differs', () => {
    const tally = createTally(10, 1);
    expect(tally.add(placed, applied)).toBe('agrees');
    expect(isClean(tally.result())).toBe(true);
    expect(tally.add(placed, null)).toBe('missing');
    expect(tally.add(placed, { ...applied, ledger: { ...ledger, userId: 'x' } })).toBe('differs');
    expect(tally.add(null, applied)).toBe('unknown');
    tally.phantom('a1');
    tally.newer();
    expect(tally.add(null, stray)).toBe('stray-removals');
    expect(tally.result()).toMatchObject({
      orders: 3,
      agreeing: 1,
      missing: 1,
      differing: 1,
      phantom: 1,
      newer: 1,
      strayRemovals: 1,
    });
    expect(isClean(tally.result())).toBe(false);
  });

  it.each<[string, (tally: ReturnType<typeof createTally>) => unknown]>([
    ['a missing order', (tally) => tally.add(placed, null)],
    ['a phantom', (tally) => tally.phantom('a1')],
    ['a difference', (tally) => tally.add(placed, { ...applied, removals: [] })],
    ['stray removals', (tally) => tally.add(null, stray)],
  ])('is not clean with %s alone', (_, add) => {
    const tally = createTally(10, 1);
    add(tally);
    expect(isClean(tally.result())).toBe(false);
  });

  it('counts an order with removals and no ledger entry as missing, and its removals as stray', () => {
    const tally = createTally(10, 1);
    expect(tally.add(placed, stray)).toBe('missing');
    expect(tally.result()).toMatchObject({ missing: 1, strayRemovals: 1, agreeing: 0 });
  });

  it('counts an order once under a kind that two of its lines show', () => {
    const tally = createTally(10, 1);
    tally.add(placed, { ...applied, removals: [] });
    expect(tally.result().kinds.get('item-without-removal')).toBe(1);
  });

  it('remembers no more differences than it is asked for', () => {
    const tally = createTally(2, 1);
    for (let index = 0; index < 5; index += 1) tally.add(placed, null);
    expect(tally.result().examples).toHaveLength(2);
    expect(tally.result().missing).toBe(5);
  });
});
