// Which settings and which states of the slots are reported as risks, and that a change of figures alone is not news.
import { describe, expect, it } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import type { SlotHealth, SlotsHealth } from '../../../../cdc-reader/postgres/slots/slot-health.ts';
import { findSlotRisks } from '../../../../cdc-reader/supervise/slot-risks.ts';

const names = { slotName: 'live', windowSlotName: 'live_window' };
const good: SlotHealth = {
  walStatus: 'reserved',
  confirmedFlushLsn: null,
  safeBytes: null,
  invalidationReason: null,
  retainedBytes: 0n,
  catalogXminAge: 3,
};
const health = (change: Partial<SlotsHealth>, slot: Partial<SlotHealth> = {}): SlotsHealth => ({
  slots: new Map([['live', { ...good, ...slot }]]),
  walEnd: toLsn(100n),
  maxKeepBytes: null,
  idleTimeoutSeconds: 0n,
  frozenXidAge: 100,
  ...change,
});
const keys = (found: SlotsHealth) => findSlotRisks(found, names).map(({ key }) => key);

describe('risks of the slots', () => {
  it.each<[string, SlotsHealth]>([
    ['without limits', health({})],
    ['on a server without an idle timeout', health({ idleTimeoutSeconds: null })],
    ['with an extended slot', health({}, { walStatus: 'extended' })],
    ['without a slot', health({ slots: new Map() })],
    ['with a slot that is being created', health({}, { walStatus: null })],
  ])('are none %s', (_, found) => {
    expect(keys(found)).toEqual([]);
  });

  it.each<[string, SlotsHealth, RegExp]>([
    [
      'a limit of the WAL kept',
      health({ maxKeepBytes: 33_554_432n }),
      /max_slot_wal_keep_size is 33554432 bytes.*SLOT_LOST/,
    ],
    ['an idle timeout', health({ idleTimeoutSeconds: 60n }), /ALTER SYSTEM SET idle_replication_slot_timeout = 0/],
    [
      'a slot over its limit',
      health({}, { walStatus: 'unreserved' }),
      /live keeps more WAL.*raise max_slot_wal_keep_size/,
    ],
    ['a lost slot', health({}, { walStatus: 'lost' }), /has invalidated the slot live: /],
    ['a reason', health({}, { walStatus: 'lost', invalidationReason: 'idle_timeout' }), /live \(idle_timeout\)/],
    ['a reason beside another status', health({}, { invalidationReason: 'rows_removed' }), /live \(rows_removed\)/],
  ])('name %s', (_, found, message) => {
    const risks = findSlotRisks(found, names);
    expect(risks).toHaveLength(1);
    expect(risks[0]!.message).toMatch(message);
  });

  it('keep their keys while only figures change', () => {
    const before = health({ frozenXidAge: 1 }, { walStatus: 'unreserved', retainedBytes: 1n });
    const after = health({ frozenXidAge: 2 }, { walStatus: 'unreserved', retainedBytes: 2n });
    expect(keys(after)).toEqual(keys(before));
  });
});
