import { describe, expect, it } from 'vitest';
import { formatReadiness } from '../../../../cart-sink/cart-api/readiness.ts';
import { RULE_VERSION } from '../../../../cart-sink/rule/reduce-cart.ts';
import { createStamp } from '../../../support/sink-events.ts';

describe('readiness', () => {
  const condition = {
    database: 'reachable',
    migrated: true,
    pipeline: 'consuming',
    topics: ['live', 'replay'],
    partitions: [{ topic: 'live', partition: 1, nextOffset: 5n, pausedAt: undefined }],
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

  it('tells which run a partition is paused at, and both versions of the rule', () => {
    const partitions = [{ ...condition.partitions[0], pausedAt: createStamp({ ruleVersion: 7 }) }];
    const [{ runId }] = [partitions[0]!.pausedAt];
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
