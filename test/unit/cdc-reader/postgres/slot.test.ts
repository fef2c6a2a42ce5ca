// The replication commands as text: each server version gets its own words, and no name gets out of its quotes.
import { describe, expect, it } from 'vitest';
import { formatCreateSlot } from '../../../../cdc-reader/postgres/slot.ts';
import { formatStartReplication } from '../../../../cdc-reader/postgres/walsender.ts';

describe('CREATE_REPLICATION_SLOT', () => {
  it.each([
    [140_023, 'CREATE_REPLICATION_SLOT "till_1" LOGICAL pgoutput EXPORT_SNAPSHOT'],
    [150_018, `CREATE_REPLICATION_SLOT "till_1" LOGICAL pgoutput (SNAPSHOT 'export')`],
    [169_999, `CREATE_REPLICATION_SLOT "till_1" LOGICAL pgoutput (SNAPSHOT 'export')`],
    [170_000, `CREATE_REPLICATION_SLOT "till_1" LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)`],
  ])('for server version %i is %s', (serverVersion, command) => {
    expect(formatCreateSlot('till_1', serverVersion)).toBe(command);
  });
});

describe('START_REPLICATION', () => {
  it('leaves the position to the server and asks for version 1 and nothing more', () => {
    expect(formatStartReplication('till_1', 'tillstream')).toBe(
      `START_REPLICATION SLOT "till_1" LOGICAL 0/0 (proto_version '1', publication_names '"tillstream"')`,
    );
  });

  it('quotes a publication as an identifier within a string', () => {
    expect(formatStartReplication('s', `It's "odd", A`)).toContain(`publication_names '"It''s ""odd"", A"'`);
  });
});

describe('a slot name', () => {
  it.each(['', 'Capital', 'with space', `quote"`, `quote'`, 'ü', 'x'.repeat(64), 'a-b'])(
    '%j, which no slot can have, is refused',
    (slotName) => {
      expect(() => formatStartReplication(slotName, 'p')).toThrow(RangeError);
      expect(() => formatCreateSlot(slotName, 180_000)).toThrow(RangeError);
    },
  );

  it('of 63 letters, digits and underscores is taken', () => {
    expect(formatStartReplication('a1_'.repeat(21), 'p')).toContain(`"${'a1_'.repeat(21)}"`);
  });
});
