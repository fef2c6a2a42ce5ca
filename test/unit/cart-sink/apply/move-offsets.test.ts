import { describe, expect, it } from 'vitest';
import { checkPositions, findFurthest } from '../../../../cart-sink/apply/move-offsets.ts';
import { toLsn } from '../../../../schemas/lsn.ts';
import { createEvent } from '../../../support/examples/sink-events.ts';

const at = (commitLsn: bigint, ordinal = 0, changes: { timeline?: number; generation?: number } = {}) =>
  createEvent({ commitLsn: toLsn(commitLsn), ordinal, ...changes });
const before = { position: { timeline: 1, commitLsn: toLsn(100n), ordinal: 1 }, generation: 1 };
const nothingBefore = { position: null, generation: null };

describe('the events of a live partition', () => {
  it('continue when positions increase, across timelines too', () => {
    const orders = [at(100n, 2), at(101n), at(101n, 1), at(50n, 0, { timeline: 2 })];
    expect(checkPositions(before, orders, [true, true, true, true])).toEqual({ kind: 'continues' });
  });

  it('may begin anywhere in a partition that never had one', () => {
    expect(checkPositions(nothingBefore, [at(7n, 0, { generation: 3 })], [true])).toEqual({ kind: 'continues' });
  });

  it.each([
    ['before', at(99n, 9)],
    ['at', at(100n, 1)],
  ])('went back when a new order lies %s the furthest one applied', (_where, order) => {
    expect(checkPositions(before, [order], [true])).toMatchObject({ kind: 'went-back', applied: before.position });
  });

  it('went back when they do so within a batch', () => {
    expect(checkPositions(before, [at(200n), at(150n)], [true, true])).toMatchObject({
      kind: 'went-back',
      applied: { commitLsn: 200n },
      found: { commitLsn: 150n },
    });
  });

  it('may repeat orders that the ledger has, which moves nothing back', () => {
    const orders = [at(50n), at(101n), at(100n, 1), at(101n, 1)];
    expect(checkPositions(before, orders, [false, true, false, true])).toEqual({ kind: 'continues' });
    expect(checkPositions(before, [at(50n), at(100n, 1)], [false, true]).kind).toBe('went-back');
  });

  it('may not change their generation unannounced, between batches or within one', () => {
    const changed = { kind: 'generation-changed', applied: 1, found: 2 };
    const next = at(300n, 0, { generation: 2 });
    expect(checkPositions(before, [next], [true])).toEqual(changed);
    expect(checkPositions(nothingBefore, [at(200n), next], [true, true])).toEqual(changed);
    expect(checkPositions({ position: null, generation: 2 }, [next], [true])).toEqual({ kind: 'continues' });
  });

  it('leave the furthest position behind, not the last', () => {
    expect(findFurthest([at(10n), at(30n), at(20n)])).toMatchObject({ commitLsn: 30n });
    expect(findFurthest([])).toBeUndefined();
  });
});
