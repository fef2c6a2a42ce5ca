import { describe, expect, it } from 'vitest';
import { backOffMs, judgeFault } from '../../../cart-sink/apply/retry.ts';
import { formatReadiness } from '../../../cart-sink/cart-api/readiness.ts';
import { readCartSinkConfig } from '../../../cart-sink/config.ts';
import { judgeFetch, judgeStart } from '../../../cart-sink/consume/offset-checks.ts';
import { parseEntry } from '../../../cart-sink/consume/parked.ts';
import { countChunk } from '../../../cart-sink/consume/split-batch.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import { encodeOrderPlaced, UnknownSchemaError } from '../../../schemas/codec.ts';
import { createEvent, createStamp } from '../../support/sink-events.ts';

describe('where a partition may start', () => {
  it.each([
    { stored: 0n, earliest: 0n, highWatermark: 0n, verdict: 'continues' },
    { stored: 7n, earliest: 0n, highWatermark: 7n, verdict: 'continues' },
    { stored: 7n, earliest: 7n, highWatermark: 9n, verdict: 'continues' },
    { stored: 7n, earliest: 8n, highWatermark: 9n, verdict: 'records-lost' },
    { stored: 0n, earliest: 1n, highWatermark: 9n, verdict: 'records-lost' },
    { stored: 10n, earliest: 0n, highWatermark: 9n, verdict: 'beyond-end' },
    { stored: 3n, earliest: 0n, highWatermark: 0n, verdict: 'beyond-end' },
  ])('is judged $verdict for $stored in $earliest to $highWatermark', ({ stored, verdict, ...range }) => {
    expect(judgeStart(stored, range)).toBe(verdict);
  });
});

describe('a fetch', () => {
  it('continues only at the expected offset, must be explained above it, and is refused below it', () => {
    expect(judgeFetch(5n, 5n)).toBe('continues');
    expect(judgeFetch(5n, 6n)).toBe('ask-earliest');
    expect(judgeFetch(5n, 4n)).toBe('went-back');
    expect(judgeFetch(5n, 0n)).toBe('went-back');
  });
});

describe('a chunk', () => {
  const records = [10, 10, 30, 10].map((bytes, index) => ({
    offset: BigInt(index),
    key: null,
    value: Buffer.alloc(bytes),
  }));

  it('ends at the bound of records', () => {
    expect(countChunk(records, 0, { maxRecords: 3, maxBytes: 1_000 })).toBe(3);
    expect(countChunk(records, 3, { maxRecords: 3, maxBytes: 1_000 })).toBe(1);
  });

  it('ends before the record that would pass the bound of bytes', () => {
    expect(countChunk(records, 0, { maxRecords: 9, maxBytes: 20 })).toBe(2);
    expect(countChunk(records, 0, { maxRecords: 9, maxBytes: 49 })).toBe(2);
    expect(countChunk(records, 0, { maxRecords: 9, maxBytes: 50 })).toBe(3);
  });

  it('holds a record that is above the bound alone', () => {
    expect(countChunk(records, 2, { maxRecords: 9, maxBytes: 20 })).toBe(1);
  });

  it('is empty where there is nothing', () => {
    expect(countChunk([], 0, { maxRecords: 9, maxBytes: 20 })).toBe(0);
  });
});

describe('a record', () => {
  const event = createEvent({ userId: 'anna' });
  const value = encodeOrderPlaced(event);
  const key = Buffer.from('anna');

  it('with a readable value under its user’s key is an order', () => {
    expect(parseEntry({ offset: 4n, key, value })).toEqual({ kind: 'order', offset: 4n, event });
  });

  it.each([
    { name: 'without a value', record: { key, value: null }, reason: /no value/ },
    { name: 'without a key', record: { key: null, value }, reason: /key/ },
    { name: 'under another user’s key', record: { key: Buffer.from('bert'), value }, reason: /key/ },
    { name: 'of garbage', record: { key, value: Buffer.from('garbage') }, reason: /single-object/ },
    { name: 'cut off', record: { key, value: value.subarray(0, value.length - 3) }, reason: /truncated|match/ },
  ])('$name is unreadable, with its bytes and a reason', ({ record, reason }) => {
    const entry = parseEntry({ offset: 9n, ...record });
    expect(entry).toMatchObject({ kind: 'unreadable', offset: 9n, ...record });
    expect(entry.kind === 'unreadable' && entry.reason).toMatch(reason);
  });

  it('of an unknown schema is not parked', () => {
    const unknown = Buffer.from(value);
    unknown[2] = unknown[2]! ^ 0xff;
    expect(() => parseEntry({ offset: 0n, key, value: unknown })).toThrow(UnknownSchemaError);
  });
});

describe('a fault', () => {
  const withCode = (code: string) => Object.assign(new Error('told'), { code });

  it.each([
    ...['08006', '25P03', '25006', '28000', '28P01', '3D000', '40001', '40P01'],
    ...['53300', '55P03', '57014', '57P01', '58030', 'ECONNRESET'],
  ])('%s passes', (code) => {
    expect(judgeFault(withCode(code)).kind).toBe('passing');
  });

  it.each(['23505', '42P01', '22P02', '42601', 'XX000'])('%s is a defect', (code) => {
    expect(judgeFault(withCode(code)).kind).toBe('defect');
  });

  it('is looked for in the causes of an error', () => {
    const wrapped = new Error('outside', { cause: new Error('between', { cause: withCode('40P01') }) });
    expect(judgeFault(wrapped)).toEqual({ kind: 'passing', reason: '40P01' });
  });

  it('of the program is a defect', () => {
    expect(judgeFault(new TypeError('x is not a function')).kind).toBe('defect');
    expect(judgeFault('thrown text').kind).toBe('defect');
  });
});

describe('the back-off', () => {
  it('doubles from a tenth of a second to five seconds', () => {
    const waits = [1, 2, 3, 4, 5, 6, 7, 8, 50, 5_000].map((attempt) => backOffMs(attempt, () => 1));
    expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000]);
  });

  it('varies by a quarter', () => {
    expect(backOffMs(3, () => 0)).toBe(300);
    expect(backOffMs(3, () => 0.5)).toBe(350);
  });
});

describe('the configuration', () => {
  const required = { CART_DATABASE_URL: 'postgres://u:p@127.0.0.1:5432/carts' };

  it('keeps every time limit of a database session below the session of the group', () => {
    for (const sessionTimeoutMs of [2_000, 6_000, 10_000, 45_000]) {
      const config = readCartSinkConfig({ ...required, SESSION_TIMEOUT_MS: String(sessionTimeoutMs) });
      expect(config.idleInTransactionTimeoutMs).toBeLessThan(sessionTimeoutMs);
      expect(config.lockTimeoutMs).toBeLessThan(sessionTimeoutMs);
      expect(config.statementTimeoutMs).toBeLessThan(sessionTimeoutMs);
      expect(config.heartbeatIntervalMs).toBeLessThanOrEqual(sessionTimeoutMs / 3);
    }
  });

  it('refuses a replay topic that is the live topic', () => {
    expect(() => readCartSinkConfig({ ...required, ORDERS_TOPIC: 'one', REPLAY_TOPIC: 'one' })).toThrow(/REPLAY_TOPIC/);
  });

  it('lists all problems at once', () => {
    const read = () => readCartSinkConfig({ PORT: 'x', SESSION_TIMEOUT_MS: '1' });
    for (const name of ['CART_DATABASE_URL', 'PORT', 'SESSION_TIMEOUT_MS']) expect(read).toThrow(name);
  });
});

describe('readiness', () => {
  const condition = {
    database: 'reachable',
    migrated: true,
    pipeline: 'consuming',
    topics: ['live', 'replay'],
    partitions: [{ topic: 'live', partition: 1, nextOffset: 5n, held: undefined }],
    lag: [{ topic: 'live', partition: 1, nextOffset: 4n, records: 2n, seconds: 1.5 }],
    halt: undefined,
  } as const;

  it('is given by the database alone, so that a halted sink serves carts', () => {
    const halt = { code: 'RECORDS_LOST', message: 'gone', details: { topic: 'live' } };
    const answer = formatReadiness({ ...condition, pipeline: 'halted', halt });
    expect(answer.ready).toBe(true);
    expect(answer.body).toMatchObject({ pipeline: 'halted', halted: halt });
  });

  it('is refused without the database or its tables', () => {
    expect(formatReadiness({ ...condition, database: 'away' })).toMatchObject({
      ready: false,
      body: { database: 'away' },
    });
    expect(formatReadiness({ ...condition, migrated: false })).toMatchObject({
      ready: false,
      body: { database: 'reachable', migrations: 'waiting' },
    });
    expect(formatReadiness({ ...condition, database: 'without-tables' })).toMatchObject({
      ready: false,
      body: { migrations: 'missing', remedy: expect.stringContaining('npm run migrate') },
    });
  });

  it('tells which run a partition waits for, and both versions of the rule', () => {
    const partitions = [{ ...condition.partitions[0], held: createStamp({ ruleVersion: 7 }) }];
    const [{ runId }] = [partitions[0]!.held];
    expect(formatReadiness({ ...condition, partitions }).body.partitions).toMatchObject([
      { held: { runId, ruleVersion: 7, ofThisSink: RULE_VERSION } },
    ]);
    expect(formatReadiness(condition).body.partitions).not.toMatchObject([{ held: expect.anything() }]);
  });

  it('tells partitions and lag as JSON', () => {
    const { body } = formatReadiness(condition);
    expect(JSON.parse(JSON.stringify(body))).toMatchObject({
      partitions: [{ topic: 'live', partition: 1, nextOffset: '5', lagRecords: 2, lagSeconds: 1.5 }],
    });
  });

  it('says what it waits for', () => {
    expect(formatReadiness({ ...condition, pipeline: 'waiting-for-topics' }).body).toMatchObject({
      waitingFor: ['live', 'replay'],
    });
  });
});
