// The judge must be able to convict: a small clean world is judged clean, and each single falsification of it is named
// under the invariant that it breaks.

import { describe, expect, test } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import {
  alice,
  bob,
  checkpoint,
  encode,
  item,
  places,
  record,
  removeOrder,
  uuid,
  verdictAfter,
  type World,
} from '../../../../support/examples/oracle-world.ts';
import { assertClean, formatVerdict, type InvariantId } from '../../../../support/oracle/verdict.ts';

test('a world in which every order was published and applied once is clean, and something was looked at for each invariant', () => {
  const verdict = verdictAfter(() => undefined);
  assertClean(verdict);
  for (const [id, { checked }] of Object.entries(verdict.invariants)) expect(checked, id).toBeGreaterThan(0);
  expect(verdict.counts).toMatchObject({ orders: 4, 'records committed': 4, ledger: 4, 'items undetermined': 0 });
});

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
