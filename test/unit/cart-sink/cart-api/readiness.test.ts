import { describe, expect, it } from 'vitest';
import type { HaltError } from '#service/halt.ts';
import { formatPipeline, formatReadiness, readyByPipeline } from '../../../../cart-sink/cart-api/readiness.ts';
import type { HeldRun } from '../../../../cart-sink/consume/replay-admission.ts';
import type { SinkState } from '../../../../cart-sink/consume/sink.ts';
import { UnknownEventSchemaError } from '../../../../cart-sink/errors.ts';
import { RULE_VERSION } from '../../../../cart-sink/rule/reduce-cart.ts';
import { createStamp } from '../../../support/examples/sink-events.ts';

describe('readiness', () => {
  const createSink = (state: SinkState = 'consuming', pausedAt?: HeldRun, halted?: HaltError) => ({
    state: () => state,
    isConsuming: () => state === 'consuming',
    partitions: () => [
      {
        ownership: { topic: 'live', partition: 1, ownerEpoch: 1n, nextOffset: 4n, lastCommitLsn: null, topicId: null },
        position: () => 5n,
        pausedAt: () => pausedAt,
        halted: () => halted,
      },
    ],
    lag: () => [{ topic: 'live', partition: 1, nextOffset: 4n, records: 2n, behindSinceMs: undefined, seconds: 1.5 }],
  });
  const topics = ['live', 'replay'];
  const condition = {
    database: 'reachable',
    migrated: true,
    consumes: true,
    sink: createSink(),
    topics,
    halt: undefined,
  } as const;

  it('is given by the database alone, so that a halted sink serves carts', () => {
    const halt = {
      code: 'RECORDS_LOST',
      message: 'gone',
      details: { topic: 'live' },
      since: '2026-11-28T12:00:00.000Z',
    };
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

  it('tells which run a partition is paused at, both versions of the rule, and the command', () => {
    const run: HeldRun = { ...createStamp({ ruleVersion: 7 }), why: 'other-rule' };
    const { body } = formatReadiness({ ...condition, sink: createSink('consuming', run) });
    expect(body.partitions).toMatchObject([{ held: { runId: run.runId, ruleVersion: 7, ofThisSink: RULE_VERSION } }]);
    const unknown = formatReadiness({ ...condition, sink: createSink('consuming', { ...run, why: 'unknown-run' }) });
    expect(unknown.body.partitions).toMatchObject([
      { held: { remedy: expect.stringContaining(`npm run replay -- pass-over ${run.runId}`) } },
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
    expect(formatReadiness({ ...condition, sink: createSink('waiting-for-topics') }).body).toMatchObject({
      waitingFor: ['live', 'replay'],
    });
  });

  describe('of the pipeline', () => {
    const working = { current: () => undefined };
    const waiting = {
      current: () => ({ kind: 'waiting', name: 'DISK_FULL', message: 'full', since: new Date() }) as const,
    };

    it('is given while it consumes, and while it joins the group again', () => {
      expect(formatPipeline(condition, working)).toMatchObject({ ready: true });
      expect(formatPipeline({ ...condition, sink: createSink('joining') }, working)).toMatchObject({ ready: false });
      expect(formatPipeline({ ...condition, sink: undefined }, working)).toMatchObject({ body: { state: 'starting' } });
    });

    it('of an API alone is elsewhere, and works once there are tables', () => {
      const alone = { ...condition, consumes: false, sink: undefined };
      expect(formatReadiness(alone)).toMatchObject({ ready: true, body: { pipeline: 'elsewhere', partitions: [] } });
      expect(formatPipeline(alone, working)).toMatchObject({ ready: true });
      expect(formatPipeline({ ...alone, migrated: false }, working)).toMatchObject({ ready: false });
    });

    it('decides whether a consumer alone is ready, beside all that is known', () => {
      const refused = readyByPipeline(formatReadiness(condition), formatPipeline(condition, waiting));
      expect(refused).toMatchObject({ ready: false, body: { name: 'DISK_FULL', database: 'reachable' } });
      expect(readyByPipeline(formatReadiness(condition), formatPipeline(condition, working)).ready).toBe(true);
    });

    it('is refused by name while it waits, for topics too, and after a halt', () => {
      expect(formatPipeline(condition, waiting)).toMatchObject({
        ready: false,
        body: { state: 'waiting', name: 'DISK_FULL' },
      });
      expect(formatPipeline({ ...condition, sink: createSink('waiting-for-topics') }, working)).toMatchObject({
        ready: false,
        body: { state: 'waiting', name: 'TOPICS_MISSING', message: expect.stringContaining('live and replay') },
      });
      const halt = { code: 'TOPIC_REFUSED', message: 'compacted', details: {}, since: '2026-11-28T12:00:00.000Z' };
      expect(formatPipeline({ ...condition, halt }, working)).toMatchObject({
        ready: false,
        body: { state: 'halted', code: 'TOPIC_REFUSED' },
      });
    });

    it('is refused as soon as one partition has halted, and names it; carts are still served', () => {
      const error = new UnknownEventSchemaError({ topic: 'live', partition: 1, offset: 5n }, new Error('unknown'));
      const halted = { ...condition, sink: createSink('consuming', undefined, error) };
      const haltedPartitions = [{ topic: 'live', partition: 1, code: 'UNKNOWN_SCHEMA' }];
      expect(formatPipeline(halted, working)).toMatchObject({
        ready: false,
        body: { state: 'halted', haltedPartitions },
      });
      expect(formatReadiness(halted)).toMatchObject({ ready: true, body: { haltedPartitions } });
    });
  });
});
