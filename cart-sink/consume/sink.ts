/**
 * Runs one consumer-group session after the other, for ever (I8) or until a halt (I11), which only a person ends.
 *
 * Between two sessions it waits with back-off. Guarantees that nothing of a session is left when the next one begins.
 * Leaves to run-session.ts: everything within a session.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { HaltState } from '#service/halt.ts';
import { backOffMs } from '#service/retry.ts';
import { retryTransient, SINK_BACK_OFF } from '../apply/retry.ts';
import { RULE_VERSION } from '../rule/reduce-cart.ts';
import type { SessionContext } from './join-group.ts';
import { createReplayAdmission, readCancelled } from './replay-admission.ts';
import { type OpenSession, runSession } from './run-session.ts';

export type SinkState =
  | 'starting'
  | 'waiting-for-topics'
  | 'joining'
  | 'consuming'
  | 'restarting'
  | 'halted'
  | 'stopped';

export type Sink = ReturnType<typeof createSink>;

/** A session that lasted this long did not fail to start: the next back-off starts from the shortest. */
const STARTED_AFTER_MS = 10_000;

/** `database` has a connection for each partition that is applied at a time, and one to take partitions over. */
export function createSink(
  options: Pick<SessionContext, 'config' | 'database' | 'reporter' | 'logger'> & { readonly halt: HaltState },
) {
  const { database, reporter, halt } = options;
  const closing = new AbortController();
  let state: SinkState = 'starting';
  let open: OpenSession | undefined;

  const context: SessionContext = {
    ...options,
    onRetry: reporter.retrying,
    admitReplay: createReplayAdmission(RULE_VERSION, (runId, signal) =>
      retryTransient(() => readCancelled(database.pool, runId), reporter.retrying, signal),
    ),
    onState: (next) => {
      state = next;
    },
  };
  const onOpen = (session: OpenSession): void => {
    open = session;
  };

  const run = async (): Promise<void> => {
    for (let failures = 0; !closing.signal.aborted; ) {
      const startedMs = performance.now();
      const end = await runSession(context, onOpen, closing.signal);
      open = undefined;
      if (end.kind === 'closed') break;
      if (end.kind === 'halted') {
        state = 'halted';
        halt.halt(end.error);
        return;
      }
      state = 'restarting';
      failures = performance.now() - startedMs > STARTED_AFTER_MS ? 1 : failures + 1;
      const waitMs = end.kind === 'topics-changed' ? 0 : backOffMs(SINK_BACK_OFF, failures);
      reporter.restarting(end, waitMs);
      await delay(waitMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
    state = 'stopped';
  };
  const running = run();

  return {
    state: () => state,
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
