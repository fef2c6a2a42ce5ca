import { describe, expect, it } from 'vitest';
import { type PathFacts, stateOf } from '#schemas/order-path.ts';

const order = { userId: 'ada', source: 'cart', placedAt: '2026-11-28T12:00:00.000Z', xid: '7', items: [] };
const event = {
  topic: 'orders.placed',
  partition: 3,
  offset: '100',
  position: '1:0/1:0',
  committedAt: order.placedAt,
  traceparent: null,
};
const halted = { code: 'UNKNOWN_SCHEMA', since: order.placedAt, command: 'npm run adopt -- sink' };
const partition = { topic: 'orders.placed', partition: 3, nextOffset: '100', ownerEpoch: '1', halted: null };
const carts = { orderId: 'one', applied: null, parked: [] };
const applied = { at: order.placedAt, position: '1:0/1:0', ruleVersion: 1, source: 'cart', removals: [] };
const parked = (outcome: string | null) => ({
  ...carts,
  parked: [{ ...event, id: '1', reason: 'r', parkedAt: order.placedAt, outcome, command: 'c' }],
});
const all: PathFacts = {
  orderId: 'one',
  order,
  event,
  reader: null,
  partition,
  carts,
  problems: [],
  kafka: 'searched',
};

describe('the state of an order', () => {
  it.each<readonly [string, Partial<PathFacts>]>([
    ['applied', { carts: { ...carts, applied }, event: null, kafka: 'unknown', problems: ['Kafka: away'] }],
    ['parked', { carts: parked(null), partition: { ...partition, nextOffset: '101' } }],
    ['discarded', { carts: parked('discarded') }],
    ['published', {}],
    ['halted', { partition: { ...partition, nextOffset: '90', halted } }],
    ['passed', { partition: { ...partition, nextOffset: '101', halted } }],
    ['placed', { event: null }],
    ['forgotten', { event: null, kafka: 'forgotten' }],
    ['missing', { event: null, order: null, partition: null }],
    ['unknown', { event: null, kafka: 'unknown', problems: ['Kafka: away'] }],
    ['unknown', { event: null, order: null, problems: ['the orders database: away'] }],
    ['unknown', { carts: null, partition: null, problems: ['the carts: away'] }],
    ['unknown', { carts: null, event: null, problems: ['the carts: away'] }],
  ])('is %s by %j', (state, change) => {
    expect(stateOf({ ...all, ...change })).toBe(state);
  });
});
