// Keeps the reader going: start, run, and after any failure tear everything down, wait a moment, start again (I8).
// Guarantees: at most one start lives at a time; a halt ends it for good (I11) with slot and producer given up; a
// standby or an unmet requirement waits, and readiness says so; a stop ends within its limit, whatever hangs. What a
// start does is start-up's, what runs is pipeline's.
import { setTimeout as delay } from 'node:timers/promises';
import { formatLsn, LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import { HaltError, type HaltState } from '#service/halt.ts';
import type { Readiness } from '#service/http-server.ts';
import type { Logger } from '#service/logger.ts';
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
import { startReader } from '../startup/start-up.ts';
import { GroupTooLargeError, PreflightError, StandbyError } from './restart-errors.ts';
import { countFailures, type RestartReason, restartDelayMs } from './restart-policy.ts';
import { createScope } from './scope.ts';

/**
 * How long close() waits: the rest of the 9.5 s that a process may take is the HTTP server's. A server that no longer
 * answers can hold back the end of a connection for longer; the process's end cuts it, and nothing depends on it.
 */
const CLOSE_LIMIT_MS = 8_000;

/** Where the reader stands; `why` is what it waits for or what ended the last start. */
type ReaderState =
  | { readonly kind: 'starting' | 'streaming' | 'stopped' }
  | { readonly kind: 'standby' | 'waiting' | 'restarting'; readonly why: Error };

export interface Reader {
  readiness(): Readiness;
  /** Resolves when what was in flight is published and acknowledged, and slot and producer are let go, or at its limit. */
  close(): Promise<void>;
}

export function createReader(options: {
  config: CdcReaderConfig;
  logger: Logger;
  metrics: ReaderMetrics;
  halts: HaltState;
  closeLimitMs?: number;
}): Reader {
  const { config, logger, metrics, halts, closeLimitMs = CLOSE_LIMIT_MS } = options;
  const stop = new AbortController();
  let state: ReaderState = { kind: 'starting' };
  let streamingSinceMs: number | undefined;
  let isolateThroughLsn: Lsn = LSN_ZERO;

  const runOnce = async (): Promise<void> => {
    const scope = createScope();
    const abandon = () => scope.fail(new Error('The reader was told to stop.'));
    stop.signal.addEventListener('abort', abandon);
    await using resources = new AsyncDisposableStack();
    resources.defer(() => stop.signal.removeEventListener('abort', abandon));
    if (stop.signal.aborted) return;
    const session = await scope.race(
      startReader({
        config,
        scope,
        logger,
        metrics,
        resources,
        onWaiting: (why) => (state = { kind: 'waiting', why }),
      }),
    );
    stop.signal.removeEventListener('abort', abandon); // from here on a stop drains
    state = { kind: 'streaming' };
    streamingSinceMs = performance.now();
    metrics.streaming.set(1);
    logger.info(
      {
        event: READER_STREAMING,
        throughLsn: formatLsn(session.checkpoint.throughLsn),
        timeline: session.stream.identity.timeline,
        generation: session.checkpoint.generation,
      },
      'The reader holds the slot and publishes.',
    );
    const upkeep = resources.adopt(startReplayUpkeep({ config, session, metrics, logger }), (open) => open.close());
    // Before anything is closed: over a silent network that can take long, and nothing is published meanwhile.
    resources.defer(() => {
      metrics.streaming.set(0);
      if (scope.signal.aborted) state = { kind: 'restarting', why: scope.signal.reason };
    });
    await runPipeline({
      config,
      session,
      scope,
      stop: stop.signal,
      metrics,
      logger,
      onPublished: upkeep.published,
      isolateThroughLsn,
    });
  };

  /** What ended a start, said once while nothing changes. */
  const explain = (error: Error): RestartReason => {
    const isNews = !('why' in state) || state.why.message !== error.message;
    if (error instanceof StandbyError) {
      state = { kind: 'standby', why: error };
      metrics.pending({ bytes: 0, oldest: undefined }); // the other reader's to report
      if (isNews) logger.info({ event: READER_STANDBY }, error.message);
      return 'standby';
    }
    if (error instanceof PreflightError) {
      state = { kind: 'waiting', why: error };
      if (isNews) logger.warn({ event: READER_WAITING, problems: error.problems }, error.message);
      return 'preflight';
    }
    state = { kind: 'restarting', why: error };
    metrics.restarts.inc({ reason: (error as { code?: string }).code ?? error.name });
    logger.warn({ event: READER_RESTARTING, err: error }, 'Reader failed; restarting from the checkpoint.');
    return 'failure';
  };

  const run = async (): Promise<void> => {
    for (let failures = 0; !stop.signal.aborted; ) {
      streamingSinceMs = undefined;
      try {
        await runOnce();
      } catch (thrown) {
        const error = causeOf(thrown);
        if (stop.signal.aborted) break;
        if (error instanceof HaltError) return halts.halt(error);
        if (error instanceof GroupTooLargeError) isolateThroughLsn = error.lastCommitLsn;
        const streamedMs = streamingSinceMs === undefined ? undefined : performance.now() - streamingSinceMs;
        failures = countFailures(failures, streamedMs);
        const reason = explain(error);
        await delay(restartDelayMs(reason, failures, Math.random()), undefined, { signal: stop.signal }).catch(
          () => {},
        );
      }
    }
    state = { kind: 'stopped' };
  };
  const running = run();

  return {
    readiness() {
      const halted = halts.current();
      if (halted !== undefined) return { ready: false, body: { state: 'halted', halted } };
      const ready = state.kind === 'streaming' || state.kind === 'standby';
      const why = 'why' in state ? { reason: state.why.message } : {};
      const problems = 'why' in state && state.why instanceof PreflightError ? { problems: state.why.problems } : {};
      return { ready, body: { state: state.kind, ...why, ...problems } };
    },
    async close() {
      stop.abort();
      const limit = new AbortController();
      const isLate = delay(closeLimitMs, true, { signal: limit.signal }).catch(() => false);
      if (await Promise.race([running, isLate])) {
        logger.warn({ event: READER_CLOSE_ABANDONED }, 'A connection does not end; the process ends without it.');
      }
      limit.abort();
    },
  };
}

/** What ended a start, and not what failed while it was torn down for that: a halt must stay a halt. */
function causeOf(thrown: unknown): Error {
  let error = thrown;
  while (error instanceof SuppressedError) error = error.suppressed;
  return error instanceof Error ? error : new Error(String(error));
}
