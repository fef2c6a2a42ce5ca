// The records of the replay topic: what marks them, how a run's sum adds up, and how they become batches.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { KafkaRecord } from '../../../cart-sink/consume/parked.ts';
import { cutLiveChunk, cutReplayChunk, parseRecord, tallyOrders } from '../../../cart-sink/consume/parse-records.ts';
import {
  addTallies,
  addToTally,
  EMPTY_TALLY,
  formatReplayEnd,
  formatReplayHeaders,
  parseReplayEnd,
  parseReplayHeaders,
  type ReplayKind,
  type ReplayStamp,
} from '../../../cart-sink/replay-records.ts';
import { encodeOrderPlaced } from '../../../schemas/codec.ts';
import { createEvent, createStamp, tallyEvents } from '../../support/sink-events.ts';

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

describe('a chunk of the replay topic', () => {
  const event = createEvent();
  const value = encodeOrderPlaced(event);
  const record = (
    of: ReplayStamp | undefined,
    kind: ReplayKind = 'order',
    bytes: Buffer | null = value,
  ): KafkaRecord => ({
    offset: 0n,
    key: Buffer.from(event.userId),
    value: bytes,
    ...(of === undefined ? {} : { headers: asBytes(formatReplayHeaders(of, kind)) }),
  });
  const other = createStamp();
  const count = (records: readonly KafkaRecord[]) => cutReplayChunk(records).records.length;

  it('is cut where another run begins, where the mode or the rule changes, and at what is not the tool’s', () => {
    expect(cutReplayChunk([record(stamp), record(stamp, 'progress'), record(stamp, 'end')])).toMatchObject({
      replay: stamp,
      kinds: ['order', 'progress', 'end'],
    });
    expect(count([record(stamp), record(stamp), record(other), record(stamp)])).toBe(2);
    expect(count([record(stamp), record({ ...stamp, mode: 'repair' })])).toBe(1);
    expect(count([record(stamp), record({ ...stamp, ruleVersion: 4 })])).toBe(1);
    expect(count([record(stamp), record(undefined)])).toBe(1);
    expect(cutReplayChunk([record(undefined), record(undefined), record(stamp)])).toMatchObject({
      replay: null,
      kinds: ['unmarked', 'unmarked'],
    });
    expect(cutReplayChunk([])).toMatchObject({ replay: null, kinds: [] });
  });

  it('of the live topic is not cut, whatever the headers', () => {
    expect(cutLiveChunk([record(stamp), record(other)])).toMatchObject({ replay: null, kinds: ['live', 'live'] });
  });

  it('gives orders and ends, passes over progress, and parks what is not the tool’s or malformed', () => {
    expect(parseRecord(record(stamp), 'order')).toMatchObject({ kind: 'order', event: { orderId: event.orderId } });
    expect(parseRecord(record(stamp), 'live')).toMatchObject({ kind: 'order' });
    expect(parseRecord(record(stamp, 'progress'), 'progress')).toBeUndefined();
    const end = formatReplayEnd({ count: 2n, checksum: 7n });
    expect(parseRecord(record(stamp, 'end', end), 'end')).toEqual({
      kind: 'replay-end',
      offset: 0n,
      tally: { count: 2n, checksum: 7n },
    });
    expect(parseRecord(record(stamp, 'end', null), 'end')).toMatchObject({ kind: 'unreadable' });
    expect(parseRecord(record(undefined), 'unmarked')).toMatchObject({
      kind: 'unreadable',
      value,
      reason: expect.stringContaining('not from the replay tool'),
    });
    expect(parseRecord(record(stamp, 'order', Buffer.from('x')), 'order')).toMatchObject({ kind: 'unreadable' });
  });

  it('sums its orders only, those that can’t be read included', () => {
    const garbage = Buffer.from('garbage');
    const chunk = cutReplayChunk([
      record(stamp),
      record(stamp, 'progress'),
      record(stamp, 'order', garbage),
      record(stamp, 'end', formatReplayEnd(EMPTY_TALLY)),
    ]);
    expect(tallyOrders(chunk)).toEqual(addToTally(tallyEvents([event]), Buffer.from(event.userId), garbage));
    expect(tallyOrders(cutLiveChunk([record(undefined)]))).toEqual(EMPTY_TALLY);
  });
});
