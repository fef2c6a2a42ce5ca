// How the records of a fetch are cut into chunks and parsed, in the live topic and in the replay topic.
import { describe, expect, it } from 'vitest';
import type { LogRecord } from '#kafka/protocol/record.ts';
import {
  addToTally,
  EMPTY_TALLY,
  formatReplayEnd,
  formatReplayHeaders,
  type ReplayKind,
  type ReplayStamp,
} from '#schemas/replay/records.ts';
import { type ChunkLimits, cutChunk, parseRecord, tallyOrders } from '../../../../cart-sink/consume/parse-records.ts';
import { UnknownSchemaError } from '../../../../schemas/codec.ts';
import { encodeOrderPlaced } from '../../../support/examples/encode-order-placed.ts';
import { createEvent, createStamp, tallyEvents } from '../../../support/examples/sink-events.ts';

const stamp: ReplayStamp = { runId: '01a20000-0000-7000-8000-000000000009', mode: 'reapply', ruleVersion: 3 };
const asBytes = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)]));

describe('a chunk', () => {
  const records = [10, 10, 30, 10].map((bytes, index) => ({
    offset: BigInt(index),
    key: null,
    value: Buffer.alloc(bytes),
    headers: {},
  }));

  const count = (start: number, limits: ChunkLimits) => cutChunk(records, start, limits, 'live').records.length;

  it('ends at the limit of records', () => {
    expect(count(0, { maxRecords: 3, maxBytes: 1_000 })).toBe(3);
    expect(count(3, { maxRecords: 3, maxBytes: 1_000 })).toBe(1);
  });

  it('ends before the record that would pass the limit of bytes', () => {
    expect(count(0, { maxRecords: 9, maxBytes: 20 })).toBe(2);
    expect(count(0, { maxRecords: 9, maxBytes: 49 })).toBe(2);
    expect(count(0, { maxRecords: 9, maxBytes: 50 })).toBe(3);
  });

  it('holds a record that is above the limit alone', () => {
    expect(count(2, { maxRecords: 9, maxBytes: 20 })).toBe(1);
  });

  it('is empty where there is nothing', () => {
    expect(cutChunk([], 0, { maxRecords: 9, maxBytes: 20 }, 'live').records.length).toBe(0);
  });
});

describe('a record', () => {
  const event = createEvent({ userId: 'anna' });
  const value = encodeOrderPlaced(event);
  const key = Buffer.from('anna');

  it('with a readable value under its user’s key is an order', () => {
    expect(parseRecord({ offset: 4n, key, value, headers: {} }, 'live')).toEqual({ kind: 'order', offset: 4n, event });
  });

  it.each([
    { name: 'without a value', record: { key, value: null }, reason: /no value/ },
    { name: 'without a key', record: { key: null, value }, reason: /key/ },
    { name: 'under another user’s key', record: { key: Buffer.from('bert'), value }, reason: /key/ },
    { name: 'of garbage', record: { key, value: Buffer.from('garbage') }, reason: /single-object/ },
    { name: 'cut off', record: { key, value: value.subarray(0, value.length - 3) }, reason: /truncated|match/ },
  ])('$name is unreadable, with its bytes and a reason', ({ record, reason }) => {
    const entry = parseRecord({ offset: 9n, ...record, headers: {} }, 'live');
    expect(entry).toMatchObject({ kind: 'unreadable', offset: 9n, ...record });
    expect(entry?.kind === 'unreadable' && entry.reason).toMatch(reason);
  });

  it('of an unknown schema is not parked', () => {
    const unknown = Buffer.from(value);
    unknown[2] = unknown[2]! ^ 0xff;
    expect(() => parseRecord({ offset: 0n, key, value: unknown, headers: {} }, 'live')).toThrow(UnknownSchemaError);
  });
});

describe('a chunk of the replay topic', () => {
  const event = createEvent();
  const value = encodeOrderPlaced(event);
  const record = (
    of: ReplayStamp | undefined,
    kind: ReplayKind = 'order',
    bytes: Buffer | null = value,
  ): LogRecord => ({
    offset: 0n,
    key: Buffer.from(event.userId),
    value: bytes,
    headers: of === undefined ? {} : asBytes(formatReplayHeaders(of, kind)),
  });
  const other = createStamp();
  const cut = (records: readonly LogRecord[], topic: 'live' | 'replay' = 'replay') =>
    cutChunk(records, 0, { maxRecords: 100, maxBytes: 1_000_000 }, topic);
  const count = (records: readonly LogRecord[]) => cut(records).records.length;

  it('is cut where another run begins, where the mode or the rule changes, and at what is not the tool’s', () => {
    expect(cut([record(stamp), record(stamp, 'progress'), record(stamp, 'end')])).toMatchObject({
      replay: stamp,
      kinds: ['order', 'progress', 'end'],
    });
    expect(count([record(stamp), record(stamp), record(other), record(stamp)])).toBe(2);
    expect(count([record(stamp), record({ ...stamp, mode: 'repair' })])).toBe(1);
    expect(count([record(stamp), record({ ...stamp, ruleVersion: 4 })])).toBe(1);
    expect(count([record(stamp), record(undefined)])).toBe(1);
    expect(cut([record(undefined), record(undefined), record(stamp)])).toMatchObject({
      replay: null,
      kinds: ['unmarked', 'unmarked'],
    });
    expect(cut([])).toMatchObject({ replay: null, kinds: [] });
  });

  it('of the live topic is not cut, whatever the headers', () => {
    expect(cut([record(stamp), record(other)], 'live')).toMatchObject({ replay: null, kinds: ['live', 'live'] });
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
    const chunk = cut([
      record(stamp),
      record(stamp, 'progress'),
      record(stamp, 'order', garbage),
      record(stamp, 'end', formatReplayEnd(EMPTY_TALLY)),
    ]);
    expect(tallyOrders(chunk)).toEqual(addToTally(tallyEvents([event]), Buffer.from(event.userId), garbage));
    expect(tallyOrders(cut([record(undefined)], 'live'))).toEqual(EMPTY_TALLY);
  });
});
