import { expect, it } from 'vitest';
import type { OrderPath } from '#schemas/order-path.ts';
import { renderPath } from '../../../../tools/find/render-path.ts';

const at = '2026-11-28T12:00:00.000Z';
const place = { topic: 'orders.placed', partition: 3 };
const path: OrderPath = {
  orderId: 'one',
  state: 'applied',
  order: { userId: 'ada', source: 'cart', placedAt: at, xid: '7', items: [{ lineNo: 1, sku: 'tea', quantity: 2 }] },
  event: { ...place, offset: '100', position: '1:0/1A:0', committedAt: at, traceparent: null },
  reader: { acknowledged: '0/10', active: true, walEnd: '0/20' },
  partition: { ...place, nextOffset: '101', ownerEpoch: '5', halted: null },
  carts: { orderId: 'one', applied: null, parked: [] },
  problems: [],
};
const render = (change: Partial<OrderPath>) => renderPath({ ...path, ...change }).join('\n');

it('shows an applied order line by line, with why less was removed', () => {
  const removal = { lineNo: 1, entry: 0, sku: 'tea', ordered: 2, removed: 2, outcome: 'removed', lineId: 'l1' };
  const removals = [
    removal,
    { ...removal, entry: 1, removed: -1 },
    { ...removal, lineNo: 2, sku: 'milk', removed: 0, outcome: 'absent', lineId: null },
  ];
  const applied = { at, position: '1:0/1A:0', ruleVersion: 1, source: 'cart', removals };
  const text = render({ carts: { orderId: 'one', applied, parked: [] } });
  expect(text).toMatch(/^Order one\n {2}state +applied: the carts have it\n {2}order +of ada, from the cart: 2 tea\n/);
  expect(text).toMatch(
    /placed +\S+Z, in transaction 7\n {2}committed +\S+Z, at 1:0\/1A:0\n {2}record +orders\.placed\[3\]@100/,
  );
  expect(text).toMatch(/line 1 +2 of 2 tea removed \(line l1\)\n {2}line 1 +a replay gave 1 tea back \(line l1\)/);
  expect(text).toMatch(/line 2 +0 of 2 milk removed: the cart had no such line/);
});

it('says how far reader and sinks are, and which command repairs', () => {
  expect(render({ state: 'placed', event: null })).toMatch(
    /not in the live topic: the reader has acknowledged up to 0\/10, the WAL ends at 0\/20$/,
  );
  expect(render({ state: 'placed', event: null, reader: { ...path.reader!, active: false } })).toContain(
    'no reader streams',
  );
  expect(render({ state: 'published', partition: { ...path.partition!, nextOffset: '90' } })).toMatch(
    /applied +not yet: orders\.placed\[3\] is applied up to offset 90, by owner epoch 5$/,
  );
  const halted = { code: 'UNKNOWN_SCHEMA', since: at, command: 'npm run adopt -- sink --park x' };
  expect(render({ state: 'halted', partition: { ...path.partition!, halted } })).toMatch(
    /halted +UNKNOWN_SCHEMA since \S+Z: npm run adopt -- sink --park x$/,
  );
  const parked = {
    ...place,
    id: '4',
    offset: '100',
    reason: 'bad',
    parkedAt: at,
    outcome: null,
    command: 'npm run parked -- show 4',
  };
  expect(render({ state: 'parked', carts: { orderId: 'one', applied: null, parked: [parked] } })).toMatch(
    /parked +\S+Z as 4 at orders\.placed\[3\]@100: bad \(npm run parked -- show 4\)$/,
  );
  expect(render({ state: 'unknown', order: null, event: null, problems: ['Kafka: away'] })).toMatch(
    /problem +Kafka: away$/,
  );
});
