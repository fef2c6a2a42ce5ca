// The index that finds an order's ordinal in a huge transaction.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OrderIndex } from '../../../../cdc-reader/encode/order-index.ts';

describe('the order index', () => {
  it('gives ordinals as a Map would, through growth, in any case of letters', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.uuid(), { maxLength: 9_000, size: 'max' }), fc.uuid(), (ids, stranger) => {
        const index = new OrderIndex();
        for (const [ordinal, id] of ids.entries()) expect(index.add(id)).toBe(ordinal);
        for (const [ordinal, id] of ids.entries()) {
          if (index.add(id.toUpperCase()) !== ordinal || index.add(id) !== ordinal) throw new Error(`lost ${id}`);
        }
        expect(index.size).toBe(ids.length);
        if (!ids.includes(stranger)) expect(index.add(stranger)).toBe(ids.length);
      }),
      { numRuns: 10 },
    );
  });

  it('finds ids that differ in one word only', () => {
    const index = new OrderIndex();
    const ids = ['1', '2', '3'].flatMap((digit) => [
      `0000000${digit}-0000-0000-0000-000000000000`,
      `00000000-000${digit}-0000-0000-000000000000`,
      `00000000-0000-0000-000${digit}-000000000000`,
      `00000000-0000-0000-0000-00000000000${digit}`,
    ]);
    for (const id of ids) index.add(id);
    expect(ids.map((id) => index.add(id))).toEqual(ids.map((_, ordinal) => ordinal));
  });
});
