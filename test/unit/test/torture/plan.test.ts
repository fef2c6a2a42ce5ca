// The schedule of a torture run is worth something only if a seed brings it back exactly.
import { describe, expect, test } from 'vitest';
import { cartShape, type Fault, faultClasses, type LoadStep, planTorture } from '../../../torture/plan.ts';

const numbersOf = ({ load, faults }: { load: readonly LoadStep[]; faults: readonly Fault[] }) => [
  ...load.flatMap((step) => ('first' in step ? [step] : [])),
  ...faults
    .flatMap((fault) => [fault, ...(fault.company === undefined ? [] : [fault.company])])
    .flatMap(({ orders }) => (orders.count > 0 ? [orders] : [])),
];

describe('the plan of a torture run', () => {
  test('is the same for the same seed, and another for another', () => {
    expect(planTorture(7, 10, faultClasses)).toEqual(planTorture(7, 10, faultClasses));
    expect(planTorture(8, 10, faultClasses).faults).not.toEqual(planTorture(7, 10, faultClasses).faults);
    expect(planTorture(8, 10, faultClasses).load).not.toEqual(planTorture(7, 10, faultClasses).load);
    // Pinned, so that a seed in a closing note still means what it meant.
    const [first, second] = planTorture(7, 10, faultClasses).faults;
    expect([first?.kind, first?.atMs, second?.kind, second?.atMs]).toMatchInlineSnapshot(`
      [
        "carts-lock",
        6924,
        "spill-disk-full",
        16148,
      ]
    `);
  });

  test('strikes with every kind in ten minutes, in time order, and only with the classes asked for', () => {
    for (const seed of [1, 2, 3]) {
      const { faults, endMs } = planTorture(seed, 10, faultClasses);
      expect(new Set(faults.map((fault) => fault.class))).toEqual(new Set(faultClasses));
      expect(faults.length).toBeGreaterThan(30);
      for (const [index, { atMs }] of faults.entries()) {
        expect(atMs).toBeGreaterThan(faults[index - 1]?.atMs ?? 0);
        expect(atMs).toBeLessThan(endMs);
      }
      const only = planTorture(seed, 10, ['A', 'C']);
      expect(new Set(only.faults.map((fault) => fault.class))).toEqual(new Set(['A', 'C']));
      expect(only.load).toEqual(planTorture(seed, 10, faultClasses).load);
    }
  });

  test('gives a third of the faults company that breaks another part of the pipeline, and never a replay', () => {
    const { faults } = planTorture(3, 60, faultClasses);
    const pairs = faults.flatMap((fault) => (fault.company === undefined ? [] : [[fault, fault.company] as const]));
    expect(pairs.length).toBeGreaterThan(faults.length / 5);
    expect(pairs.length).toBeLessThan(faults.length / 2);
    for (const [fault, company] of pairs) {
      expect(company.class).not.toBe(fault.class);
      expect([fault.class, company.class]).not.toContain('replay');
      expect(company.atMs).toBeGreaterThanOrEqual(fault.atMs);
      if (fault.class === 'F') expect(['A', 'B']).not.toContain(company.class);
      if (fault.class === 'K') expect(['B', 'E']).toContain(company.class);
      expect(company.class).not.toBe('K');
      expect(fault.kind).not.toMatch(/^tables-/);
    }
  });

  test('gives every order a number of its own, below the number that it states', () => {
    const plan = planTorture(11, 10, faultClasses);
    const ranges = numbersOf(plan).toSorted((a, b) => a.first - b.first);
    let next = 0;
    for (const { first, count } of ranges) {
      expect(first).toBe(next);
      next = first + count;
    }
    expect(plan.orders).toBe(next);
    expect(new Set(plan.load.map(({ kind }) => kind))).toEqual(
      new Set(['single', 'multi-row', 'copy', 'savepoints', 'side-by-side', 'direct', 'add', 'change', 'remove']),
    );
  });

  test('lets users change only the SKUs whose outcome is not demanded', () => {
    const edits = planTorture(5, 10, faultClasses).load.filter(({ kind }) => kind === 'change' || kind === 'remove');
    expect(edits.length).toBeGreaterThan(10);
    for (const edit of edits) expect('sku' in edit && edit.sku).toBeGreaterThanOrEqual(cartShape.editedSkus);
  });
});
