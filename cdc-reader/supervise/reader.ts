// Supervises the reader: start, run, and after any failure close everything, wait a moment, restart from the checkpoint
// (I8). Guarantees: at most one start lives at a time; a halt ends it for good (I11), with slot and producer closed; a
// standby or an unmet requirement waits, and readiness reports it; a stop ends within its limit, whatever hangs. What a
// start does is start-up.ts's, what runs is pipeline.ts's.
import { setTimeout as delay } from 'node:timers/promises';
import { formatLsn, LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import { HaltError, type HaltState } from '#service/halt.ts';
import type { Readiness } from '#service/http-server.ts';
import type { Logger } from '#service/logger.ts';
import { formatPipelineHealth, type PipelineHealth } from '#service/pipeline-health.ts';
import type { CdcReaderConfig } from '../config.ts';
import {
  READER_CLOSE_ABANDONED,
  READER_RESTARTING,
  READER_STANDBY,
  READER_STREAMING,
  READER_WAITING,
  type ReaderMetrics,
} from '../metrics.ts';
import { runPipeline } from '../pipeline/pipeline.ts';
import { startReplayUpkeep } from '../replay-window/upkeep.ts';
import type { ReaderSession, StartContext } from '../startup/session.ts';
import { startReader } from '../startup/start-up.ts';
import { describeState, type ReaderState, standBy } from './reader-state.ts';
import { GroupTooLargeError, PreflightError, SlotNotStreamingError, StandbyError } from './restart-errors.ts';
import { countFailures, type RestartReason, restartDelayMs } from './restart-policy.ts';
import { createScope } from './scope.ts';
import { startTopicWatch } from './topic-watch.ts';

/**
 * How long close() waits: the rest of the 9.5 s that a process may take is the HTTP server's. A server that no longer
 * answers can hold back the end of a connection for longer; the process's end cuts it, and nothing depends on it.
 */
const CLOSE_LIMIT_MS = 8_000;
/** A start takes a second; one that takes longer waits for something. */
const START_GRACE_MS = 5_000;

export interface Reader {
  readiness(): Readiness;
  /** GET /health/pipeline: 503 unless orders are published, or would be, or another reader publishes them. */
  pipeline(): Readiness;
  /** Resolves when what was in flight is published and acknowledged, and slot and producer are closed, or at its limit. */
  close(): Promise<void>;
}

interface ReaderOptions {
  readonly config: CdcReaderConfig;
  readonly logger: Logger;
  readonly metrics: ReaderMetrics;
  readonly halts: HaltState;
  readonly health: PipelineHealth;
  readonly onStreaming?: () => void;
  readonly closeLimitMs?: number;
}

export function createReader(options: ReaderOptions): Reader {
  return new SupervisedReader(options);
}

class SupervisedReader implements Reader {
  readonly #options: ReaderOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #state: ReaderState = { kind: 'starting', sinceMs: performance.now() };
  #streamingSinceMs: number | undefined;
  #isolateThroughLsn: Lsn = LSN_ZERO;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  readonly readiness = (): Readiness => {
    const state = this.#state;
    const halted = this.#options.halts.current();
    if (halted !== undefined) return { ready: false, body: { state: 'halted', halted } };
    const ready = state.kind === 'streaming' || state.kind === 'standby';
    const why = 'why' in state ? { reason: state.why.message } : {};
    const problems = 'why' in state && state.why instanceof PreflightError ? { problems: state.why.problems } : {};
    return { ready, body: { state: state.kind, ...why, ...problems } };
  };

  readonly pipeline = (): Readiness => {
    const state = this.#state;
    const { halts, health } = this.#options;
    const answer = formatPipelineHealth(health, halts, { state: state.kind, ...describeState(state) });
    if (!answer.ready || state.kind !== 'starting') return answer;
    return { ...answer, ready: performance.now() - state.sinceMs < START_GRACE_MS };
  };

  readonly close = async (): Promise<void> => {
    const { logger, closeLimitMs = CLOSE_LIMIT_MS } = this.#options;
    this.#stop.abort();
    const limit = new AbortController();
    const isLate = delay(closeLimitMs, true, { signal: limit.signal }).catch(() => false);
    if (await Promise.race([this.#running, isLate])) {
      logger.warn({ event: READER_CLOSE_ABANDONED }, 'A connection does not end; the process ends without it.');
    }
    limit.abort();
  };

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      this.#streamingSinceMs = undefined;
      try {
        await this.#runOnce();
      } catch (thrown) {
        const error = causeOf(thrown);
        if (signal.aborted) break;
        if (error instanceof HaltError) return this.#options.halts.halt(error);
        if (error instanceof GroupTooLargeError) this.#isolateThroughLsn = error.lastCommitLsn;
        const since = this.#streamingSinceMs;
        const streamedMs = since === undefined ? undefined : performance.now() - since;
        failures = countFailures(failures, streamedMs);
        if (failures === 0) this.#options.health.working();
        const reason = this.#explain(error);
        const delayMs =
          reason === 'waiting'
            ? this.#options.health.delayMs(Math.random())
            : restartDelayMs(reason, failures, Math.random());
        await delay(delayMs, undefined, { signal }).catch(() => undefined); // stopped
      }
    }
    this.#state = { kind: 'stopped' };
  }

  /** One start and, once it may publish, its pipeline. */
  async #runOnce(): Promise<void> {
    const { config, logger, metrics } = this.#options;
    const stop = this.#stop.signal;
    const scope = createScope();
    const abandon = () => scope.fail(new Error('The reader was stopped.'));
    stop.addEventListener('abort', abandon);
    await using resources = new AsyncDisposableStack();
    resources.defer(() => stop.removeEventListener('abort', abandon));
    if (stop.aborted) return;
    const onWaiting = (why: Error) => {
      this.#state = { kind: 'waiting', why };
      this.#options.health.failed(why);
    };
    const onProgress: StartContext['onProgress'] = (firstStart) => {
      this.#state = { kind: 'starting', sinceMs: performance.now(), firstStart };
      this.#options.health.working();
    };
    const session = await scope.race(startReader({ config, scope, logger, metrics, resources, onWaiting, onProgress }));
    stop.removeEventListener('abort', abandon); // from here on a stop drains
    this.#reportStreaming(session);
    const upkeep = resources.adopt(startReplayUpkeep({ config, session, metrics, logger }), (open) => open.close());
    const watch = resources.adopt(startTopicWatch({ topic: config.ordersTopic, session, scope, logger }), (open) =>
      open.close(),
    );
    // Before anything is closed: over a silent network that can take long, and nothing is published meanwhile.
    resources.defer(() => {
      metrics.streams(false);
      if (scope.signal.aborted) this.#state = { kind: 'restarting', why: scope.signal.reason };
    });
    const isolateThroughLsn = this.#isolateThroughLsn;
    const onPublished: typeof upkeep.published = (checkpoint) => {
      this.#options.health.working();
      upkeep.published(checkpoint);
      watch.published(checkpoint);
    };
    await runPipeline({ config, session, scope, stop, metrics, logger, onPublished, isolateThroughLsn });
  }

  #reportStreaming({ checkpoint, stream }: ReaderSession): void {
    const { logger, metrics } = this.#options;
    this.#state = { kind: 'streaming' };
    this.#options.health.resumed();
    this.#streamingSinceMs = performance.now();
    metrics.streams(true);
    this.#options.onStreaming?.();
    const { generation } = checkpoint;
    const { timeline } = stream.identity;
    const throughLsn = formatLsn(checkpoint.throughLsn);
    logger.info(
      { event: READER_STREAMING, throughLsn, timeline, generation },
      `The reader holds the slot and publishes from ${throughLsn} on (timeline ${timeline}, generation ${generation}).`,
    );
  }

  /** What ended a start; a reason to wait is logged once while it stays the same. */
  #explain(error: Error): RestartReason {
    const { logger, metrics } = this.#options;
    const isNews = !('why' in this.#state) || this.#state.why.message !== error.message;
    if (error instanceof StandbyError) {
      this.#state = standBy(error, this.#state, new Date());
      this.#options.health.working();
      metrics.standsBy();
      if (isNews) logger.info({ event: READER_STANDBY }, error.message);
      return 'standby';
    }
    const trouble = this.#options.health.failed(error);
    if (trouble.kind === 'waiting') {
      this.#state = { kind: 'waiting', why: error };
      const problems = error instanceof PreflightError ? { problems: error.problems } : {};
      if (isNews) logger.warn({ event: READER_WAITING, name: trouble.name, ...problems }, trouble.message);
      return 'waiting';
    }
    if (error instanceof SlotNotStreamingError) {
      this.#state = { kind: 'waiting', why: error };
      if (isNews) logger.info({ event: READER_WAITING }, error.message);
      return 'standby';
    }
    this.#state = { kind: 'restarting', why: error };
    metrics.restarts.inc({ reason: (error as { code?: string }).code ?? error.name });
    logger.warn({ event: READER_RESTARTING, err: error }, 'Reader failed; restarting from the checkpoint.');
    return 'failure';
  }
}

/** What ended a start, and not what failed while it was torn down for that: a halt must stay a halt. */
function causeOf(thrown: unknown): Error {
  let error = thrown;
  while (error instanceof SuppressedError) error = error.suppressed;
  return error instanceof Error ? error : new Error(String(error));
}
