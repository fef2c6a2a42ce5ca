// The three states beside working: named, with the time since when, and left as soon as work goes on (I8).
import { describe, expect, it } from 'vitest';
import { classifyFailure } from '#service/failure.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { createPipelineHealth, formatPipelineHealth, UNKNOWN_TRIES } from '#service/pipeline-health.ts';

const withCode = (code: string) => Object.assign(new Error(`failed with ${code}`), { code });
const noHalt = { current: () => undefined };

function createStage() {
  let nowMs = 1_000_000;
  const metrics = createMetrics('test');
  const logger = createLogger('test', 'silent');
  const health = createPipelineHealth({ metrics, logger, classify: classifyFailure, nowMs: () => nowMs });
  const answer = () => formatPipelineHealth(health, noHalt, { state: 'streaming' }, nowMs);
  return { health, metrics, answer, pass: (ms: number) => (nowMs += ms) };
}

describe('the health of a pipeline', () => {
  it('is what it does while nothing has failed', () => {
    expect(createStage().answer()).toEqual({ ready: true, body: { state: 'streaming' } });
  });

  it('counts a transient failure after five seconds, since the first of them', () => {
    const { health, answer, pass } = createStage();
    health.failed(withCode('ECONNREFUSED'));
    expect(answer()).toMatchObject({ ready: true, body: { state: 'transient', name: 'ECONNREFUSED' } });
    pass(3_000);
    health.failed(withCode('57P03'));
    pass(2_000);
    const since = new Date(1_000_000).toISOString();
    expect(answer()).toMatchObject({ ready: false, body: { state: 'transient', name: '57P03', since } });
    health.working();
    expect(answer()).toMatchObject({ ready: true });
  });

  it('counts what needs a person at once, by name, with the remedy, in a metric too', async () => {
    const { health, answer, metrics } = createStage();
    health.failed(withCode('28P01'));
    expect(answer()).toMatchObject({
      ready: false,
      body: { state: 'waiting', name: 'DATABASE_AUTHENTICATION', message: expect.stringMatching(/28P01.*password/) },
    });
    expect(await metrics.render()).toContain('tillstream_waiting{name="DATABASE_AUTHENTICATION"} 1\n');
    health.failed(withCode('ENOSPC'));
    expect(await metrics.render()).not.toContain('DATABASE_AUTHENTICATION');
    health.working();
    expect(await metrics.render()).not.toContain('tillstream_waiting{');
  });

  it('makes an unknown error wait, with its own words, after five tries without progress', () => {
    const { health, answer } = createStage();
    for (let attempt = 1; attempt < UNKNOWN_TRIES; attempt += 1) {
      expect(health.failed(withCode('NOBODY_KNOWS')).kind).toBe('transient');
    }
    health.working();
    for (let attempt = 1; attempt < UNKNOWN_TRIES; attempt += 1) health.failed(withCode('NOBODY_KNOWS'));
    expect(health.failed(withCode('NOBODY_KNOWS')).kind).toBe('waiting');
    expect(answer()).toMatchObject({
      ready: false,
      body: { name: 'NOBODY_KNOWS', message: /failed with NOBODY_KNOWS/ },
    });
    expect(createStage().health.failed('no error at all')).toMatchObject({ name: 'UNKNOWN_FAILURE' });
  });

  it('tries again soon after a transient failure, and at most every 30 s while it waits', () => {
    const { health } = createStage();
    const delays = (code: string) =>
      Array.from({ length: 12 }, () => {
        health.failed(withCode(code));
        return health.delayMs(1);
      });
    expect(delays('ECONNREFUSED')).toEqual([100, 200, 400, 800, 1_600, ...Array(7).fill(2_000)]);
    expect(delays('28P01')).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, ...Array(7).fill(30_000)]);
  });

  it('is halted once the service is, whatever else has failed', () => {
    const { health } = createStage();
    health.failed(withCode('28P01'));
    const halt = { code: 'SLOT_LOST', message: 'lost', details: {}, since: '2026-11-28T12:00:00.000Z' };
    expect(formatPipelineHealth(health, { current: () => halt }, {})).toMatchObject({
      ready: false,
      body: { state: 'halted', code: 'SLOT_LOST' },
    });
  });
});
