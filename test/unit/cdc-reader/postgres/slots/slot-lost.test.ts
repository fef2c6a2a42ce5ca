// The one error of an invalidated slot: its remedy follows from Postgres's reason, and both positions are in it.
import { describe, expect, it } from 'vitest';
import { toLsn } from '#schemas/lsn.ts';
import { SlotLostError } from '../../../../../cdc-reader/postgres/slots/slot-lost.ts';

const positions = { throughLsn: toLsn(0x10n), flushLsn: toLsn(0x20n) };

describe('a lost slot', () => {
  it.each<[string | null, RegExp]>([
    ['wal_removed', /ALTER SYSTEM SET max_slot_wal_keep_size/],
    [null, /\(wal_removed\).*ALTER SYSTEM SET max_slot_wal_keep_size/],
    ['idle_timeout', /ALTER SYSTEM SET idle_replication_slot_timeout = 0/],
    ['rows_removed', /vacuumed.*standby.*hot_standby_feedback/],
    ['wal_level_insufficient', /ALTER SYSTEM SET wal_level = 'logical'/],
    ['conflict', /standby.*wal_level/],
    ['no position', /never got a position/],
    ['a_new_reason', /\(a_new_reason\): read what the server logged/],
  ])('by %s names the remedy', (reason, remedy) => {
    const { message } = new SlotLostError('live', { ...positions, reason, what: 'published' });
    expect(message).toMatch(remedy);
    expect(message).toMatch(/0\/10 \(everything before was published\) to 0\/20/);
    expect(message).toContain('npm run adopt -- reader');
    if (reason !== 'wal_removed' && reason !== null) expect(message).not.toContain('max_slot_wal_keep_size');
  });

  it('keeps reason, positions and cause', () => {
    const cause = new Error('refused');
    const error = new SlotLostError('live', { ...positions, reason: null, what: 'acknowledged' }, { cause });
    expect(error).toMatchObject({ code: 'SLOT_LOST', cause, name: 'SlotLostError' });
    expect(error.details).toEqual({ throughLsn: '0/10', flushLsn: '0/20', reason: 'wal_removed' });
  });
});
