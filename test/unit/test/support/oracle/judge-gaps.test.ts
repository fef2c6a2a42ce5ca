// Orders of a gap that an operator has accepted are excused, if a replay from the tables has brought them, and only those.

import { describe, expect, test } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import { encodeOrderPlaced } from '../../../../support/examples/encode-order-placed.ts';
import {
  alice,
  bob,
  changeCheckpoint,
  checkpoint,
  cleanWorld,
  encode,
  item,
  log,
  type Mutable,
  order,
  orders,
  places,
  record,
  removeOrder,
  uuid,
  type World,
} from '../../../../support/examples/oracle-world.ts';
import { createEvent } from '../../../../support/examples/order-placed-events.ts';
import { judge } from '../../../../support/oracle/oracle.ts';
import type { PartitionLog } from '../../../../support/oracle/read-topic.ts';
import { assertClean, formatVerdict, type InvariantId } from '../../../../support/oracle/verdict.ts';

/** The transaction of order 3 lies in a gap that an operator has accepted: replayed from the tables, no position. */
function worldWithGap(): World {
  const world = cleanWorld();
  const { facts } = world;
  const second = 1_000_000n;
  const start = 1_700_000_000_000_000n;
  for (const [index, seconds] of [0n, 0n, 5n, 10n].entries()) {
    facts.orders[index]!.committedAt = start + seconds * second;
  }
  removeOrder(world, 3);
  facts.live[1]!.records[1]!.value = encode(3, { committedAt: start + 10n * second });
  const value = encode(2, { commitLsn: toLsn(0n), ordinal: 0, committedAt: orders[2]!.placedAt });
  facts.replayed = [log(0, [record(0, 0n, alice, value)], 2n)] as Mutable<PartitionLog[]>;
  Object.assign(facts.carts.ledger[2]!, { commitLsn: 0n, ordinal: 0 });
  facts.carts.offsets[0]!.last = { timeline: 1, ...places[0]! };
  facts.checkpoints[0]!.records = [
    checkpoint(0n, null, 0, '1/00000050', ['0', '0']),
    checkpoint(2n, '1/00000100', 1, '1/00000130', ['0', '0']),
    checkpoint(4n, '1/00000100', 1, '1/00000250', ['0', '0']), // an operator's, with the offsets of the last one
    checkpoint(6n, '1/00000300', 0, '1/00000330', ['2', '2']),
  ];
  for (const index of [2, 3])
    changeCheckpoint(world, index, { gaps: [{ fromLsn: '1/00000130', toLsn: '1/00000250' }] });
  return world;
}

describe('the oracle excuses orders of an accepted gap, which come by a replay from the tables', () => {
  const judgeGap = (falsify: (world: World) => void) => {
    const world = worldWithGap();
    falsify(world);
    return judge(world.facts, world.history);
  };

  test('and only those', () => {
    const verdict = judgeGap(() => undefined);
    assertClean(verdict);
    expect(verdict.counts).toMatchObject({ gaps: 1, 'orders in gaps': 1, 'items undetermined': 0 });
  });

  test('and knows that they were applied before what committed after their replay', () => {
    const scarce = (world: World) => {
      // Alice's third order comes after the replay and finds nothing, since order 3 took the last apple.
      const { facts, history } = world;
      history.additions = [];
      history.opening[0]!.quantity = 3;
      facts.carts.lines.shift();
      const items = [item(1, 'apple', 1)];
      facts.orders.push({ ...order(5, alice, '703', items), items, committedAt: 1_700_000_011_000_000n });
      const { xid: _, ...fact } = facts.orders[4]!;
      const at = { commitLsn: toLsn(0x1_0000_0320n), ordinal: 0 };
      const event = { ...createEvent(), ...fact, ...at, committedAt: 1_700_000_011_000_000n };
      facts.live[0]!.records.push(record(0, 3n, alice, encodeOrderPlaced(event)));
      facts.carts.ledger.push({ orderId: uuid(5), userId: alice, source: 'cart', timeline: 1, ...at });
      facts.carts.offsets[0] = { partition: 0, nextOffset: 4n, last: { timeline: 1, ...at } };
      facts.checkpoints[0]!.records.push(checkpoint(8n, '1/00000320', 0, '1/00000330', ['3', '4']));
      changeCheckpoint(world, 4, { gaps: [{ fromLsn: '1/00000130', toLsn: '1/00000250' }] });
      changeCheckpoint(world, 3, { throughLsn: '1/00000310' });
      facts.carts.removals.push({
        orderId: uuid(5),
        lineNo: 1,
        lineId: null,
        sku: 'apple',
        ordered: 1,
        removed: 0,
      });
    };
    const unsure = judgeGap(scarce);
    assertClean(unsure);
    expect(unsure.counts['items undetermined']).toBe(2);
    const sure = judgeGap((world) => {
      scarce(world);
      world.history.gapsClosedAt = [0x1_0000_0310n];
    });
    assertClean(sure);
    expect(sure.counts['items undetermined']).toBe(0);
  });

  test('also two gaps that touch', () => {
    const gaps = [{ fromLsn: '1/00000130', toLsn: '1/00000260' }];
    assertClean(
      judgeGap((world) => {
        changeCheckpoint(world, 2, {
          gaps: [{ fromLsn: '1/00000130', toLsn: '1/00000180' }],
          throughLsn: '1/00000180',
        });
        const { records } = world.facts.checkpoints[0]!;
        records.splice(3, 0, { ...records[2]!, offset: 5n });
        changeCheckpoint(world, 3, { gaps, throughLsn: '1/00000260' });
        changeCheckpoint(world, 4, { gaps });
      }),
    );
  });

  test('also the rest of a huge transaction that was being published when it began', () => {
    const torn = (world: World) => {
      removeOrder(world, 2);
      const { facts } = world;
      facts.replayed![0]!.records.push(
        record(0, 1n, bob, encode(1, { commitLsn: toLsn(0n), ordinal: 1, committedAt: orders[1]!.placedAt })),
      );
      Object.assign(facts.carts.ledger[1]!, { commitLsn: 0n, ordinal: 1 });
      for (const index of [1, 2]) {
        changeCheckpoint(world, index, { lastPublished: { commitLsn: '1/00000100', ordinal: 0 } });
      }
      changeCheckpoint(world, 1, { throughLsn: '1/00000060' });
      for (const index of [2, 3]) {
        changeCheckpoint(world, index, { gaps: [{ fromLsn: '1/00000060', toLsn: '1/00000250' }] });
      }
    };
    const partial = { commitLsn: '1/00000100', ordinal: 0 };
    assertClean(
      judgeGap((world) => {
        torn(world);
        changeCheckpoint(world, 1, { partial });
      }),
    );
    const words = judgeGap(torn).invariants.I5.first.join();
    expect(words).toMatch(/transaction 700 is torn: 1 of its 2/);
    expect(words).toMatch(/is published and lies in a gap/);
  });

  test.each<[string, InvariantId, RegExp, (world: World) => void]>([
    [
      'no checkpoint knows of it',
      'I1',
      /committed and not published/,
      (w) => {
        for (const index of [2, 3]) changeCheckpoint(w, index, { gaps: [] });
      },
    ],
    [
      'it committed long before the gap',
      'I1',
      /committed and not published/,
      (w) => {
        w.facts.orders[2]!.committedAt! -= 7_000_000n;
      },
    ],
    [
      'it committed long after the gap',
      'I1',
      /committed and not published/,
      (w) => {
        w.facts.orders[2]!.committedAt! += 7_000_000n;
      },
    ],
    [
      "an operator's checkpoint says that more was published",
      'I5',
      /ended at 1\/00000100:1, an operator's/,
      (w) => changeCheckpoint(w, 2, { lastPublished: { commitLsn: '1/00000200', ordinal: 0 } }),
    ],
    ['it was not replayed', 'I1', /lies in a gap and was not replayed/, (w) => (w.facts.replayed = [])],
    [
      'it was replayed with a position, from elsewhere',
      'I1',
      /was not replayed/,
      (w) => {
        w.facts.replayed![0]!.records[0]!.value = encode(2);
      },
    ],
    ['it is not applied', 'I1', /replayed and not applied/, (w) => w.facts.carts.ledger.splice(2, 1)],
    [
      'it is applied at another place',
      'I6',
      /the ledger has order .* at 1:1\/200:0/,
      (w) => {
        w.facts.carts.ledger[2]!.commitLsn = 0x1_0000_0200n;
      },
    ],
    ['it was replayed with another user', 'I2', /differs in userId/, (w) => (w.facts.orders[2]!.userId = bob)],
    [
      'it removed less than there was, consistently',
      'I3',
      /removed 0 from no line, the model 1/,
      (w) => {
        w.facts.carts.removals.splice(3, 1);
        w.facts.carts.lines[0]!.quantity = 8;
      },
    ],
  ])('and convicts when %s', (_, id, words, falsify) => {
    const verdict = judgeGap(falsify);
    expect(verdict.invariants[id].first.join('\n'), formatVerdict(verdict)).toMatch(words);
  });
});
