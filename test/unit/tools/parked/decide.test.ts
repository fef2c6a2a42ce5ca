// How `npm run parked -- list` names a parked event.
import { describe, expect, it } from 'vitest';
import { formatParkedEvent } from '../../../../tools/parked/decide.ts';

const row = {
  parked_id: 12n,
  consumer_group: 'cart-sink',
  topic: 'orders.placed',
  partition: 3,
  offset: 1207n,
  reason: 'the record has no value',
  parked_at: new Date(0),
  outcome: null,
  outcome_at: null,
  outcome_by: null,
  outcome_reason: null,
};

describe('a parked event', () => {
  it('is one line: id, place, time, group and reason', () => {
    expect(formatParkedEvent(row)).toBe(
      '12  orders.placed[3]@1207  1970-01-01T00:00:00.000Z  cart-sink  the record has no value',
    );
  });

  it('with an outcome names what was done, when, by whom and why', () => {
    const discarded = {
      outcome: 'discarded',
      outcome_at: new Date(1000),
      outcome_by: 'ann',
      outcome_reason: 'a test',
    } as const;
    expect(formatParkedEvent({ ...row, ...discarded })).toMatch(
      / \[discarded 1970-01-01T00:00:01\.000Z by ann: a test\]$/,
    );
  });
});
