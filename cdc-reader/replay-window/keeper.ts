// Keeps the window of WAL for replays while one start streams: looks, lets replay-window.ts decide, does it, looks again.
// Guarantees: publishing neither waits for it nor ends with it. What fails is counted, said once until the reason
// changes, and tried again; without its window a replay from WAL covers less, and nothing else is lost. Only the
// reader that holds the live slot runs it, so there is one.
import { setTimeout as delay } from 'node:timers/promises';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import type { Logger } from '#service/logger.ts';
import { READER_REPLAY_WINDOW, READER_REPLAY_WINDOW_FAILED, type ReaderMetrics } from '../metrics.ts';
import {
  decideWindowStep,
  nextLookMs,
  restartPointStepBytes,
  type WindowFacts,
  type WindowLimits,
  type WindowStep,
  windowAgeMs,
} from './decide.ts';
import type { WindowSlotSession } from './window-slot.ts';

/** Steps of one look: three advances and a drop with its create; the next look does the rest. */
const MAX_STEPS = 4;
const AFTER_FAILURE_MS = 5_000;

/** There is a slot of the window's name that was not made for this window. */
class WindowSlotForeignError extends Error {
  readonly code = 'WINDOW_SLOT_FOREIGN';

  constructor() {
    super('A replication slot of that name belongs to another database or plugin; drop or rename it to have a window.');
    this.name = 'WindowSlotForeignError';
  }
}

/** Runs until it is closed, which waits for no statement. `checkpoint`: the newest that Kafka has committed. */
export function startWindowKeeper(options: {
  open: () => Promise<WindowSlotSession>;
  limits: WindowLimits;
  windowSlotName: string;
  checkpoint: () => Checkpoint;
  metrics: Pick<ReaderMetrics, 'replayWindow' | 'replayWindowLost' | 'replayWindowFailures'>;
  logger: Logger;
  nowMs?: () => number;
  afterFailureMs?: number;
}): { close(): Promise<void> } {
  const {
    limits,
    windowSlotName,
    checkpoint,
    metrics,
    logger,
    nowMs = Date.now,
    afterFailureMs = AFTER_FAILURE_MS,
  } = options;
  const closed = new AbortController();
  let session: WindowSlotSession | undefined;
  let failure: string | undefined;
  // A window that had marks and has no slot was lost while nobody looked.
  let hadSlot = checkpoint().windowMarks.length > 0;
  let restartPointLsn: Lsn | undefined;
  let last: { flushLsn: Lsn; atMs: number } | undefined;

  const say = (step: WindowStep['kind'], reason?: string): void => {
    logger.info({ event: READER_REPLAY_WINDOW, slot: windowSlotName, step, reason }, SAYINGS[step]);
  };

  const take = async (open: WindowSlotSession, step: WindowStep): Promise<void> => {
    if (step.kind === 'refuse') throw new WindowSlotForeignError();
    if (step.kind === 'advance') return open.advance(step.toLsn);
    if (step.kind === 'drop' || step.kind === 'recreate') await open.drop();
    if (step.kind === 'create' || step.kind === 'recreate') await open.create();
    const reason = step.kind === 'recreate' ? step.reason : step.kind === 'create' && hadSlot ? 'missing' : undefined;
    if (reason !== undefined) metrics.replayWindowLost.inc({ reason });
    hadSlot = step.kind !== 'drop';
    say(step.kind, reason);
  };

  const tell = (facts: WindowFacts): void => {
    const oldestLsn = facts.slot?.isLost === false ? facts.slot.confirmedFlushLsn : null;
    const { windowMarks: marks, throughLsn } = checkpoint();
    const ageMs = oldestLsn === null ? 0 : windowAgeMs(oldestLsn, { marks, throughLsn, nowMs: nowMs() });
    const keptBytes = facts.slot?.restartLsn == null ? 0 : Number(facts.flushLsn - facts.slot.restartLsn);
    metrics.replayWindow(oldestLsn, keptBytes, ageMs / 1_000);
  };

  /** How long until the next look; undefined: there is nothing more to look for. */
  const look = async (open: WindowSlotSession): Promise<number | undefined> => {
    let facts = await open.readFacts();
    for (let steps = 0, advances = 0; steps < MAX_STEPS && !closed.signal.aborted; steps++) {
      const { windowMarks: marks, throughLsn } = checkpoint();
      const step = decideWindowStep({ facts, limits, marks, throughLsn, nowMs: nowMs(), advances });
      if (step.kind === 'nothing') break;
      if (step.kind === 'advance') advances += 1;
      await take(open, step);
      if (step.kind === 'advance') logger.debug({ toLsn: formatLsn(step.toLsn) }, 'The replay window was advanced.');
      facts = await open.readFacts();
    }
    hadSlot ||= facts.slot !== null;
    if (closed.signal.aborted) return undefined;
    tell(facts);
    if (limits.bytes === 0) return undefined;

    restartPointLsn ??= facts.flushLsn;
    if (Number(facts.flushLsn - restartPointLsn) >= restartPointStepBytes(limits)) {
      if (facts.mayLogRestartPoint) await open.logRestartPoint();
      restartPointLsn = facts.flushLsn;
    }
    const before = last;
    last = { flushLsn: facts.flushLsn, atMs: performance.now() };
    const bytes = before === undefined ? 0 : Number(last.flushLsn - before.flushLsn);
    return nextLookMs(limits, { bytes, ms: before === undefined ? 0 : last.atMs - before.atMs });
  };

  const fail = (error: Error & { code?: string }): void => {
    const reason = error.code ?? error.name;
    metrics.replayWindowFailures.inc({ reason });
    if (failure === reason) return;
    failure = reason;
    logger.warn({ event: READER_REPLAY_WINDOW_FAILED, slot: windowSlotName, err: error }, explain(error));
  };

  const letGo = async (): Promise<void> => {
    const open = session;
    session = undefined;
    await open?.close().catch((error) => logger.debug({ err: error }, 'The session of the replay window had ended.'));
  };

  const run = async (): Promise<void> => {
    while (!closed.signal.aborted) {
      let waitMs: number | undefined = afterFailureMs;
      try {
        session ??= await options.open();
        if (closed.signal.aborted) break;
        waitMs = await look(session);
        failure = undefined;
      } catch (error) {
        if (closed.signal.aborted) break;
        fail(error as Error);
        await letGo();
      }
      if (waitMs === undefined) break;
      await delay(waitMs, undefined, { signal: closed.signal, ref: false }).catch(() => undefined); // closed
    }
    await letGo();
  };
  void run();

  return {
    close() {
      closed.abort();
      return letGo();
    },
  };
}

const SAYINGS: Readonly<Record<WindowStep['kind'], string>> = {
  nothing: '',
  refuse: '',
  advance: '',
  create: 'WAL is kept for replays from here on.',
  recreate: 'The replay window is made anew: what it had covered can no longer be replayed from WAL.',
  drop: 'The replay window is switched off: no WAL is kept for it any more.',
};

const TOO_MANY_SLOTS = '53400';

function explain(error: Error & { code?: string }): string {
  if (error.code === TOO_MANY_SLOTS) {
    return 'No replication slot is free for the replay window: raise max_replication_slots, or set REPLAY_WINDOW_BYTES=0.';
  }
  return 'The replay window can not be kept just now; publishing goes on, and it is tried again.';
}
