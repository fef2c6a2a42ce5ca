// The records of the replay topic: what marks them, and how a run's sum adds up.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  addTallies,
  addToTally,
  EMPTY_TALLY,
  formatReplayEnd,
  formatReplayHeaders,
  parseReplayEnd,
  parseReplayHeaders,
  type ReplayStamp,
} from '#schemas/replay/records.ts';

const stamp: ReplayStamp = { runId: '01a20000-0000-7000-8000-000000000009', mode: 'reapply', ruleVersion: 3 };
const asBytes = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)]));

describe('the headers of a replay', () => {
  it.each(['order', 'end', 'progress'] as const)('tell the run and that the record is of kind %s', (kind) => {
    expect(formatReplayHeaders(stamp, kind)).toEqual({
      'tillstream-replay-run': stamp.runId,
      'tillstream-replay-mode': 'reapply',
      'tillstream-replay-rule': '3',
      'tillstream-replay-kind': kind,
    });
    expect(parseReplayHeaders(asBytes(formatReplayHeaders(stamp, kind)))).toEqual({ stamp, kind });
  });

  it.each([
    ['run', undefined],
    ['run', '01A20000-0000-7000-8000-000000000009'],
    ['mode', 'repeat'],
    ['mode', undefined],
    ['rule', '-1'],
    ['rule', '1e3'],
    ['rule', '32768'],
    ['rule', undefined],
    ['kind', 'orders'],
    ['kind', undefined],
  ])('with %s as %s are not the tool’s', (name, value) => {
    const headers: Record<string, Buffer | undefined> = asBytes(formatReplayHeaders(stamp, 'order'));
    headers[`tillstream-replay-${name}`] = value === undefined ? undefined : Buffer.from(value);
    expect(parseReplayHeaders(headers)).toBeUndefined();
  });

  it('that come twice, as kafkajs gives them, are not the tool’s', () => {
    const headers = asBytes(formatReplayHeaders(stamp, 'order')) as Record<string, never>;
    const twice = { ...headers, 'tillstream-replay-kind': [Buffer.from('order'), Buffer.from('order')] as never };
    expect(parseReplayHeaders(twice)).toBeUndefined();
  });
});

describe('a tally', () => {
  const records = [1, 2, 3].map((n) => [Buffer.from(`user-${n}`), Buffer.from(`bytes-${n}`)] as const);
  const tallyOf = (some: readonly (readonly [Buffer, Buffer])[]) =>
    some.reduce((tally, [key, value]) => addToTally(tally, key, value), EMPTY_TALLY);

  it('sums the first eight bytes of SHA-256 over key length, key and value', () => {
    const digest = createHash('sha256')
      .update(Buffer.from([0, 0, 0, 2]))
      .update('abc')
      .digest()
      .readBigUInt64BE();
    expect(addToTally(EMPTY_TALLY, Buffer.from('ab'), Buffer.from('c'))).toEqual({ count: 1n, checksum: digest });
    expect(addToTally(EMPTY_TALLY, Buffer.from('a'), Buffer.from('bc')).checksum).not.toBe(digest);
  });

  it('is the same in any order and in parts, and wraps at 2^64', () => {
    const all = tallyOf(records);
    expect(tallyOf(records.toReversed())).toEqual(all);
    expect(addTallies(tallyOf(records.slice(0, 1)), tallyOf(records.slice(1)))).toEqual(all);
    expect(all.count).toBe(3n);
    const most = { count: 1n, checksum: 2n ** 64n - 1n };
    expect(addTallies(most, { count: 1n, checksum: 2n })).toEqual({ count: 2n, checksum: 1n });
  });

  it('differs when a record comes twice', () => {
    expect(tallyOf([...records, records[0]!]).checksum).not.toBe(tallyOf(records).checksum);
  });

  it('goes through an end record unchanged', () => {
    const tally = { count: 12_345_678_901n, checksum: 2n ** 64n - 1n };
    expect(parseReplayEnd(formatReplayEnd(tally))).toEqual(tally);
    expect(parseReplayEnd(formatReplayEnd(EMPTY_TALLY))).toEqual(EMPTY_TALLY);
  });

  it.each(['', '1', '1 ', '-1 2', '01 2', '1 2 3', `1 ${2n ** 64n}`])(
    'is refused from an end record with "%s"',
    (text) => {
      expect(() => parseReplayEnd(Buffer.from(text))).toThrow(
        expect.objectContaining({ code: 'MALFORMED_REPLAY_END' }),
      );
    },
  );
});
