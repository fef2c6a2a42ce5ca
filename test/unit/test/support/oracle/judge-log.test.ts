// What the log may look like although every order was published once.

import { describe, expect, test } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import { alice, checkpoint, encode, orders, record, verdictAfter } from '../../../../support/examples/oracle-world.ts';
import { assertClean } from '../../../../support/oracle/verdict.ts';

describe('the oracle does not convict when', () => {
  test('an unreadable record is parked', () => {
    const verdict = verdictAfter(({ facts }) => {
      facts.live[0]!.records.push(record(0, 3n, alice, Buffer.from('garbage')));
      facts.carts.offsets[0]!.nextOffset = 4n;
      facts.carts.parked.push({ partition: 0, offset: 3n });
    });
    assertClean(verdict);
  });

  test('an aborted copy of an event precedes the committed one', () => {
    const verdict = verdictAfter(({ facts }) => {
      facts.live[0]!.records.splice(1, 0, { ...record(0, 1n, alice, encode(2)), outcome: 'aborted' });
    });
    assertClean(verdict);
    expect(verdict.counts['records aborted']).toBe(1);
  });

  test('a snapshot numbers the orders of several transactions at one position', () => {
    const at = toLsn(0x1_0000_0300n);
    const verdict = verdictAfter(({ facts }) => {
      const snapshotOf = (index: number, ordinal: number) =>
        encode(index, { commitLsn: at, ordinal, committedAt: orders[index]!.placedAt });
      facts.live[0]!.records[0]!.value = snapshotOf(0, 0);
      facts.live[1]!.records[0]!.value = snapshotOf(1, 1);
      facts.live[0]!.records[1]!.value = snapshotOf(2, 2);
      facts.live[1]!.records[1]!.value = snapshotOf(3, 3);
      facts.checkpoints[0]!.records = [
        checkpoint(0n, null, 0, '0/0', [], 'intent'),
        checkpoint(2n, '1/00000300', 1, '0/0', [], 'snapshot'),
        checkpoint(4n, '1/00000300', 3, '0/0', [], 'snapshot'),
        checkpoint(6n, '1/00000300', 3, '1/00000301', ['4', '4']),
      ];
      facts.confirmedFlushLsn = at + 1n;
      for (const [index, entry] of facts.carts.ledger.entries()) {
        Object.assign(entry, { commitLsn: at, ordinal: index });
      }
      for (const [index, entry] of facts.carts.offsets.entries()) {
        Object.assign(entry.last!, { commitLsn: at, ordinal: index + 2 });
      }
    });
    assertClean(verdict);
  });
});
