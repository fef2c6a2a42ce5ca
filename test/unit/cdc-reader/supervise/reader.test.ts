// How the reader goes on after a start has ended, and how it stops: with starts and pipelines that do what a test tells
// them to, in place of the real ones.
import { setTimeout as delay } from 'node:timers/promises';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { LSN_ZERO, type Lsn, toLsn } from '#schemas/lsn.ts';
import { createHaltState } from '#service/halt.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { createPipelineHealth } from '#service/pipeline-health.ts';
import { readCdcReaderConfig } from '../../../../cdc-reader/config.ts';
import { StreamOrderError } from '../../../../cdc-reader/errors.ts';
import { createReaderMetrics } from '../../../../cdc-reader/metrics.ts';
import type { ReaderSession, StartContext } from '../../../../cdc-reader/startup/session.ts';
import { classifyReaderFailure } from '../../../../cdc-reader/supervise/classify-failure.ts';
import { createReader } from '../../../../cdc-reader/supervise/reader.ts';
import {
  GroupTooLargeError,
  SlotNotStreamingError,
  StandbyError,
} from '../../../../cdc-reader/supervise/restart-errors.ts';
import { countFailures } from '../../../../cdc-reader/supervise/restart-policy.ts';
import { waitFor } from '../../../support/wait.ts';

interface RunOptions {
  stop: AbortSignal;
  isolateThroughLsn?: Lsn;
}

const behaviour = vi.hoisted(() => ({
  start: async (_: StartContext): Promise<unknown> => undefined,
  run: async (_: RunOptions): Promise<void> => undefined,
}));
vi.mock('../../../../cdc-reader/startup/start-up.ts', () => ({
  startReader: (context: StartContext) => behaviour.start(context),
}));
vi.mock('../../../../cdc-reader/pipeline/pipeline.ts', () => ({
  runPipeline: (options: RunOptions) => behaviour.run(options),
}));
vi.mock('../../../../cdc-reader/replay-window/upkeep.ts', () => ({
  startReplayUpkeep: () => ({ published: () => undefined, close: async () => undefined }),
}));

const session = { checkpoint: { throughLsn: LSN_ZERO, generation: 1 }, stream: { identity: { timeline: 1 } } };
const untilStopped = ({ stop }: { stop: AbortSignal }) =>
  new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve()));

function startReader(closeLimitMs?: number) {
  const metrics = createMetrics('test');
  const logger = createLogger('test', 'silent');
  const halts = createHaltState(metrics, logger);
  const config = readCdcReaderConfig({ ORDER_DATABASE_URL: 'postgres://u:p@localhost/shop' });
  const limit = closeLimitMs === undefined ? {} : { closeLimitMs };
  const health = createPipelineHealth({ metrics, logger, classify: classifyReaderFailure });
  return Object.assign(
    createReader({ config, logger, metrics: createReaderMetrics(metrics), halts, health, ...limit }),
    {
      halts,
    },
  );
}

describe('the reader', () => {
  let starts: number;
  beforeEach(() => {
    starts = 0;
    behaviour.start = async () => {
      starts += 1;
      return session as unknown as ReaderSession;
    };
    behaviour.run = untilStopped;
  });

  it('starts again after a failure', async () => {
    behaviour.run = async (options) => {
      if (starts === 1) throw new Error('Kafka is away');
      return untilStopped(options);
    };
    const reader = startReader();
    await waitFor('the second start', () => starts === 2);
    await waitFor('it to stream', () => reader.readiness().ready);
    await reader.close();
    expect(reader.readiness()).toMatchObject({ ready: false, body: { state: 'stopped' } });
  });

  it('has the transactions of a group that was too large published one by one, in every start from then on', async () => {
    const isolated: (bigint | undefined)[] = [];
    behaviour.run = async (options) => {
      isolated.push(options.isolateThroughLsn);
      if (starts === 1) throw new GroupTooLargeError(3, toLsn(170n));
      if (starts === 2) throw new Error('Kafka is away');
      return untilStopped(options);
    };
    const reader = startReader();
    await waitFor('the third start', () => starts === 3);
    await waitFor('it to stream', () => reader.readiness().ready);
    expect(isolated).toEqual([0n, 170n, 170n]);
    expect(reader.halts.current()).toBeUndefined();
    await reader.close();
  });

  it('does not start again after a halt, even when letting go of something fails too', async () => {
    behaviour.start = async ({ resources }) => {
      starts += 1;
      resources.defer(() => Promise.reject(new Error('the connection is broken')));
      resources.defer(() => Promise.reject(new Error('and another')));
      return session as unknown as ReaderSession;
    };
    behaviour.run = () => Promise.reject(new StreamOrderError('for the test'));
    const reader = startReader();
    await waitFor('the halt', () => reader.halts.current() !== undefined);
    expect(reader.halts.current()).toMatchObject({ code: 'STREAM_OUT_OF_ORDER' });
    await delay(300); // three times the first delay of a restart
    expect(starts).toBe(1);
    await reader.close();
  });

  it('stands by, ready, while another reader is at work', async () => {
    behaviour.start = async () => {
      starts += 1;
      throw new StandbyError('for the test', toLsn(1n));
    };
    const reader = startReader();
    await waitFor('it to stand by', () => reader.readiness().body.state === 'standby');
    expect(reader.readiness().ready).toBe(true);
    await reader.close();
  });

  it('is healthy while it streams, stands by, and in the first seconds of a start', async () => {
    behaviour.start = () => new Promise(() => undefined);
    const starting = startReader();
    expect(starting.pipeline()).toMatchObject({ ready: true, body: { state: 'starting' } });
    await starting.close();
    behaviour.start = async () => session as unknown as ReaderSession;
    const streaming = startReader();
    await waitFor('it to stream', () => streaming.readiness().ready);
    expect(streaming.pipeline()).toMatchObject({ ready: true, body: { state: 'streaming' } });
    await streaming.close();
    behaviour.start = () => Promise.reject(new StandbyError('for the test', toLsn(1n)));
    const standby = startReader();
    await waitFor('it to stand by', () => standby.readiness().ready);
    expect(standby.pipeline()).toMatchObject({ ready: true, body: { state: 'standby' } });
    await standby.close();
  });

  it('names whom it stands by for, since when, and when that one has moved', async () => {
    let confirmed = 1n;
    behaviour.start = () =>
      Promise.reject(new StandbyError('Slot live is in use by walsender pid 7', toLsn(confirmed)));
    const reader = startReader();
    await waitFor('it to stand by', () => reader.readiness().ready);
    const before = reader.pipeline().body;
    expect(before).toMatchObject({
      reason: 'Slot live is in use by walsender pid 7; this reader stands by.',
      since: expect.stringMatching(/^\d{4}-.*Z$/),
      confirmedFlushLsn: '0/1',
      confirmedFlushLsnMovedAt: null,
    });
    confirmed = 2n;
    await waitFor('it to see the move', () => reader.pipeline().body.confirmedFlushLsn === '0/2');
    expect(reader.pipeline().body).toMatchObject({
      since: before.since,
      confirmedFlushLsnMovedAt: expect.stringMatching(/Z$/),
    });
    await reader.close();
  });

  it('is no hot standby behind a reader that does not stream yet', async () => {
    behaviour.start = () => Promise.reject(new SlotNotStreamingError('for the test'));
    const reader = startReader();
    await waitFor('it to wait', () => reader.readiness().body.state === 'waiting');
    expect(reader.readiness().ready).toBe(false);
    expect(reader.pipeline()).toMatchObject({ body: { state: 'transient', name: 'SLOT_NOT_STREAMING' } });
    await reader.close();
  });

  it('waits by name for what needs a person, without slot or producer, and goes on by itself', async () => {
    let closed = 0;
    behaviour.start = async ({ resources }) => {
      starts += 1;
      resources.defer(() => {
        closed += 1;
      });
      if (starts === 1) throw Object.assign(new Error('refused'), { code: '28P01' });
      return session as unknown as ReaderSession;
    };
    const reader = startReader();
    await waitFor('it to wait', () => reader.readiness().body.state === 'waiting');
    expect(closed).toBe(1);
    expect(reader.pipeline()).toMatchObject({
      ready: false,
      body: { state: 'waiting', name: 'DATABASE_AUTHENTICATION' },
    });
    await waitFor('it to stream', () => reader.readiness().ready);
    await reader.close();
  });

  it('waits with an error that nobody has thought of, after five starts without progress', async () => {
    behaviour.run = () => Promise.reject(Object.assign(new Error('unheard of'), { code: 'UNHEARD_OF' }));
    const reader = startReader();
    await waitFor('it to wait', () => reader.readiness().body.state === 'waiting', { deadlineMs: 20_000 });
    expect(starts).toBe(5);
    expect(reader.pipeline()).toMatchObject({ ready: false, body: { name: 'UNHEARD_OF', message: /unheard of/ } });
    await reader.close();
  });

  it('stops at once during a start', async () => {
    behaviour.start = () => new Promise(() => undefined);
    const reader = startReader();
    await reader.close();
    expect(reader.readiness().body.state).toBe('stopped');
  });

  it('stops within its limit although a connection does not end', async () => {
    behaviour.start = async ({ resources }) => {
      resources.defer(() => new Promise(() => undefined));
      return session as unknown as ReaderSession;
    };
    const reader = startReader(100);
    await waitFor('it to stream', () => reader.readiness().ready);
    await Promise.race([reader.close(), delay(3_000).then(() => Promise.reject(new Error('it did not stop')))]);
  });
});

describe('counting failures', () => {
  it('begins anew only after a start that published for a while', () => {
    expect(countFailures(3, undefined)).toBe(4);
    expect(countFailures(3, 50)).toBe(4);
    expect(countFailures(3, 10_000)).toBe(0);
  });
});
