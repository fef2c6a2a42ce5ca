import { describe, expect, it } from 'vitest';
import type { ReplayStamp } from '#schemas/replay/records.ts';
import { formatReadiness } from '../../../../cart-sink/cart-api/readiness.ts';
import type { SinkState } from '../../../../cart-sink/consume/sink.ts';
import { RULE_VERSION } from '../../../../cart-sink/rule/reduce-cart.ts';
import { createStamp } from '../../../support/examples/sink-events.ts';

describe('readiness', () => {
  const createSink = (state: SinkState = 'consuming', pausedAt?: ReplayStamp) => ({
    state: () => state,
    partitions: () => [
      {
        ownership: { topic: 'live', partition: 1, ownerEpoch: 1n, nextOffset: 4n, lastCommitLsn: null },
        position: () => 5n,
        pausedAt: () => pausedAt,
      },
    ],
    lag: () => [{ topic: 'live', partition: 1, nextOffset: 4n, records: 2n, seconds: 1.5 }],
  });
  const topics = ['live', 'replay'];
  const condition = { database: 'reachable', migrated: true, sink: createSink(), topics, halt: undefined } as const;

  it('is given by the database alone, so that a halted sink serves carts', () => {
    const halt = { code: 'RECORDS_LOST', message: 'gone', details: { topic: 'live' } };
    const answer = formatReadiness({ ...condition, sink: createSink('halted'), halt });
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
    const run = createStamp({ ruleVersion: 7 });
    const { body } = formatReadiness({ ...condition, sink: createSink('consuming', run) });
    expect(body.partitions).toMatchObject([{ held: { runId: run.runId, ruleVersion: 7, ofThisSink: RULE_VERSION } }]);
    expect(formatReadiness(condition).body.partitions).not.toMatchObject([{ held: expect.anything() }]);
  });

  it('tells partitions and lag as JSON', () => {
    const { body } = formatReadiness(condition);
    expect(JSON.parse(JSON.stringify(body))).toMatchObject({
      partitions: [{ topic: 'live', partition: 1, nextOffset: '5', lagRecords: 2, lagSeconds: 1.5 }],
    });
  });

  it('says what it waits for', () => {
    expect(formatReadiness({ ...condition, sink: createSink('waiting-for-topics') }).body).toMatchObject({
      waitingFor: ['live', 'replay'],
    });
  });
});
