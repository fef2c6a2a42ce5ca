/**
 * Runs one consumer-group session after the other, for ever (I8) or until a halt (I11), which only a person ends.
 *
 * Between two sessions it waits with back-off, as a member of no group: where this sink alone has a cause that needs a
 * person (a wrong password), the others take over. Guarantees that nothing of a session is left when the next one begins.
 * Leaves to run-session.ts: everything within a session.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { HaltState } from '#service/halt.ts';
import type { PipelineHealth } from '#service/pipeline-health.ts';
import { type RetryReport, retryTransient } from '../apply/retry.ts';
import { SessionEndedError } from '../errors.ts';
import { RULE_VERSION } from '../rule/reduce-cart.ts';
import { explainEnd, type SessionEnd } from './group-session.ts';
import type { SessionContext } from './join-group.ts';
import { createReplayAdmission, readRun } from './replay-admission.ts';
import { type OpenSession, runSession } from './run-session.ts';

export type SinkState =
  | 'starting'
  | 'waiting-for-topics'
  | 'joining'
  | 'consuming'
  | 'restarting'
  | 'waiting'
  | 'halted'
  | 'stopped';

export type Sink = ReturnType<typeof createSink>;

/**
 * A session that owns its partitions for this long works, although nothing came to be applied. Sooner, only an applied
 * batch ends a waiting state: a cause that shows with the first batch would seem gone at each attempt.
 */
const WORKS_AFTER_MS = 10_000;
/** Joining again takes about three seconds. */
const REJOIN_GRACE_MS = 5_000;

interface SinkOptions extends Pick<SessionContext, 'config' | 'database' | 'reporter' | 'logger'> {
  readonly halt: HaltState;
  readonly health: PipelineHealth;
}

/** `database` has a connection for each partition that is applied at a time, and one to take partitions over. */
export function createSink(options: SinkOptions) {
  const { database, reporter, halt, health } = options;
  const closing = new AbortController();
  let worksTimer: NodeJS.Timeout | undefined;
  const retries: RetryReport = {
    onRetry: (reason, error, waitMs) => {
      clearTimeout(worksTimer); // the database does not do its work: only a success ends that
      health.failed(error);
      reporter.retrying(reason, error, waitMs);
    },
    onRecovered: health.working,
  };
  let state: SinkState = 'starting';
  let open: OpenSession | undefined;
  let hasConsumed = false;
  let stateSinceMs = performance.now();

  const context: SessionContext = {
    ...options,
    retries,
    admitReplay: createReplayAdmission(RULE_VERSION, (runId, signal) =>
      retryTransient(() => readRun(database.pool, runId), retries, signal),
    ),
    reporter: observe(options),
    onState: (next) => {
      state = next;
      stateSinceMs = performance.now();
      clearTimeout(worksTimer);
      if (next !== 'consuming') return;
      hasConsumed = true;
      health.resumed();
      worksTimer = setTimeout(health.working, WORKS_AFTER_MS);
    },
  };
  const onOpen = (session: OpenSession): void => {
    open = session;
  };

  const run = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      const end = await runSession(context, onOpen, closing.signal);
      open = undefined;
      clearTimeout(worksTimer);
      if (end.kind === 'closed') break;
      if (end.kind === 'halted') {
        state = 'halted';
        halt.halt(end.error);
        reporter.halted();
        return;
      }
      const waitMs = nextSessionInMs(end, health);
      state = health.current()?.kind === 'waiting' ? 'waiting' : 'restarting';
      reporter.restarting(end, waitMs);
      await delay(waitMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
    state = 'stopped';
  };
  const running = run();

  return {
    state: () => state,
    /** Whether it consumes, or did until a moment ago and joins the group again without a failure. */
    isConsuming: () => state === 'consuming' || (hasConsumed && performance.now() - stateSinceMs < REJOIN_GRACE_MS),
    lag: () => open?.monitor.current() ?? [],
    partitions: () => open?.session.partitions() ?? [],
    /** Finishes the batches in progress and leaves the group. */
    close: async (): Promise<void> => {
      closing.abort();
      open?.session.end({ kind: 'closed' });
      await running;
    },
  };
}

/** Lets the sink's health and halts follow what a session reports. */
function observe({ reporter, halt, health }: SinkOptions): SessionContext['reporter'] {
  return {
    ...reporter,
    applied: (...applied) => {
      health.working();
      reporter.applied(...applied);
    },
    partitionHalted: (partition, error) => {
      halt.haltPartition(error);
      reporter.partitionHalted(partition, error);
    },
    assigned: (...assigned) => {
      halt.releasePartitions();
      reporter.assigned(...assigned);
    },
    left: () => {
      halt.releasePartitions();
      reporter.left();
    },
  };
}

/** Another owner and diverged offsets are transient: the next session reads where it stands. */
function nextSessionInMs(end: SessionEnd, health: PipelineHealth): number {
  if (end.kind === 'topics-changed') return 0;
  health.failed(end.kind === 'failed' ? end.error : new SessionEndedError(explainEnd(end)));
  return Math.round(health.delayMs(Math.random()));
}
