// Creating a slot waits for every transaction that runs then, in whatever database of the cluster. While it waits, log and readiness
// name the sessions that hold it up, so that a person can end them. Nothing is ended here.
import { setTimeout as delay } from 'node:timers/promises';
import { READER_WAITING } from '../../metrics.ts';
import type { SourceSession, TransactionHolder } from '../../postgres/source-session.ts';
import type { StartContext } from '../session.ts';

/** Short transactions end by themselves within this time, and are not worth a line. */
const ASK_EVERY_MS = 1_000;

/** Not thrown: what readiness reports while the slot is being created. */
class SlotWaitsError extends Error {
  readonly code = 'SLOT_WAITS_FOR_TRANSACTIONS';
  constructor(slotName: string, holders: readonly TransactionHolder[]) {
    super(
      `The slot ${slotName} can be created once the transactions that run now have ended: ${holders.map(describe).join('; ')}. ` +
        'End them where they were begun, or run SELECT pg_terminate_backend(pid); a prepared one by COMMIT PREPARED or ROLLBACK PREPARED.',
    );
    this.name = 'SlotWaitsError';
  }
}

/** Runs `create`, which calls `onStarted` with the pid of the server process that creates the slot. */
export async function reportSlotWaits<T>(
  {
    config,
    logger,
    onWaiting,
    onProgress,
    scope,
  }: Pick<StartContext, 'config' | 'logger' | 'onWaiting' | 'onProgress' | 'scope'>,
  source: Pick<SourceSession, 'readTransactionHolders'>,
  create: (onStarted: (pid: number) => void) => Promise<T>,
  everyMs = ASK_EVERY_MS,
): Promise<T> {
  const done = new AbortController();
  let reported = '';
  const watch = async (pid: number): Promise<void> => {
    for (;;) {
      await delay(everyMs, undefined, { signal: done.signal, ref: false });
      const holders = await source.readTransactionHolders(pid);
      if (done.signal.aborted) return;
      if (holders.length === 0) continue;
      const why = new SlotWaitsError(config.slotName, holders);
      if (why.message === reported) continue;
      reported = why.message;
      onWaiting(why);
      logger.warn({ event: READER_WAITING, code: why.code, holders }, why.message);
    }
  };
  try {
    return await create((pid) => {
      watch(pid).catch((error) => {
        if (!done.signal.aborted) scope.fail(error); // the session is gone
      });
    });
  } finally {
    done.abort();
    if (reported !== '') onProgress();
  }
}

function describe({ pid, what, database, state, since }: TransactionHolder): string {
  const who = pid === null ? `prepared transaction ${what}` : `pid ${pid} (${what || 'no application_name'})`;
  return `${who} of database ${database ?? 'unknown'}, ${state ?? 'state hidden from this role'}, since ${since ?? 'a time hidden from this role (GRANT pg_monitor shows it)'}`;
}
