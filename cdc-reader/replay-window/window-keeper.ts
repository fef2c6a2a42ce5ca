// Keeps the window of WAL for replays while one start streams: reads slots and WAL, lets window-policy.ts choose a step, takes it,
// reads again. Guarantees: publishing neither waits for it nor ends with it. A failure is counted, logged once until the
// reason changes, and retried; without its window a replay from WAL covers less, and nothing else is lost. Only the reader
// that holds the live slot runs it, so there is one.
import { setTimeout as delay } from 'node:timers/promises';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import type { Logger } from '#service/logger.ts';
import { READER_REPLAY_WINDOW, READER_REPLAY_WINDOW_FAILED, type ReaderMetrics } from '../metrics.ts';
import {
  chooseWindowStep,
  nextCheckMs,
  restartPointStepBytes,
  type WindowFacts,
  type WindowLimits,
  type WindowStep,
  windowAgeMs,
} from './window-policy.ts';
import type { WindowSlotSession } from './window-slot.ts';

/** Steps of one check: three advances, and a drop with its create; the next check does the rest. */
const MAX_STEPS = 4;
/** A failed attempt costs a connection; WAL is held back meanwhile, so not much longer than a restart of Postgres. */
const AFTER_FAILURE_MS = 5_000;

/** There is a slot of the window's name that was not made for this window. */
class WindowSlotForeignError extends Error {
  readonly code = 'WINDOW_SLOT_FOREIGN';

  constructor() {
    super('A replication slot of that name belongs to another database or plugin; drop or rename it to have a window.');
    this.name = 'WindowSlotForeignError';
  }
}

interface WindowKeeperOptions {
  readonly open: () => Promise<WindowSlotSession>;
  readonly limits: WindowLimits;
  readonly windowSlotName: string;
  /** The newest that Kafka has committed. */
  readonly checkpoint: () => Checkpoint;
  readonly metrics: Pick<ReaderMetrics, 'replayWindow' | 'replayWindowLost' | 'replayWindowFailures'>;
  readonly logger: Logger;
  readonly nowMs?: () => number;
  readonly afterFailureMs?: number;
}

/** Runs until it is closed, which waits for no statement. */
export function startWindowKeeper(options: WindowKeeperOptions): { close(): Promise<void> } {
  return new WindowKeeper(options);
}

class WindowKeeper {
  readonly #options: WindowKeeperOptions;
  readonly #closed = new AbortController();
  readonly #nowMs: () => number;
  #session: WindowSlotSession | undefined;
  #failure: string | undefined;
  /** A window that had marks and has no slot was lost while no reader streamed. */
  #hadSlot: boolean;
  #restartPointLsn: Lsn | undefined;
  #last: { readonly flushLsn: Lsn; readonly atMs: number } | undefined;

  constructor(options: WindowKeeperOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
    this.#hadSlot = options.checkpoint().windowMarks.length > 0;
    void this.#run();
  }

  close(): Promise<void> {
    this.#closed.abort();
    return this.#closeSession();
  }

  async #run(): Promise<void> {
    const { open, afterFailureMs = AFTER_FAILURE_MS } = this.#options;
    const { signal } = this.#closed;
    while (!signal.aborted) {
      let waitMs: number | undefined = afterFailureMs;
      try {
        this.#session ??= await open();
        if (signal.aborted) break;
        waitMs = await this.#check(this.#session);
        this.#failure = undefined;
      } catch (error) {
        if (signal.aborted) break;
        this.#fail(error as Error);
        await this.#closeSession();
      }
      if (waitMs === undefined) break;
      await delay(waitMs, undefined, { signal, ref: false }).catch(() => undefined); // closed
    }
    await this.#closeSession();
  }

  /** Resolves to how long until the next check; undefined: there is nothing more to do. */
  async #check(session: WindowSlotSession): Promise<number | undefined> {
    const { limits, checkpoint, logger } = this.#options;
    const { signal } = this.#closed;
    let facts = await session.readFacts();
    for (let steps = 0, advances = 0; steps < MAX_STEPS && !signal.aborted; steps++) {
      const { windowMarks: marks, throughLsn } = checkpoint();
      const step = chooseWindowStep({ facts, limits, marks, throughLsn, nowMs: this.#nowMs(), advances });
      if (step.kind === 'nothing') break;
      if (step.kind === 'advance') advances += 1;
      await this.#take(session, step);
      if (step.kind === 'advance') logger.debug({ toLsn: formatLsn(step.toLsn) }, 'The replay window was advanced.');
      facts = await session.readFacts();
    }
    this.#hadSlot ||= facts.slot !== null;
    if (signal.aborted) return undefined;
    this.#report(facts);
    if (limits.bytes === 0) return undefined;

    this.#restartPointLsn ??= facts.flushLsn;
    if (Number(facts.flushLsn - this.#restartPointLsn) >= restartPointStepBytes(limits)) {
      if (facts.mayLogRestartPoint) await session.logRestartPoint();
      this.#restartPointLsn = facts.flushLsn;
    }
    const before = this.#last;
    const last = { flushLsn: facts.flushLsn, atMs: performance.now() };
    this.#last = last;
    if (before === undefined) return nextCheckMs(limits, { bytes: 0, ms: 0 });
    return nextCheckMs(limits, { bytes: Number(last.flushLsn - before.flushLsn), ms: last.atMs - before.atMs });
  }

  async #take(session: WindowSlotSession, step: WindowStep): Promise<void> {
    const { windowSlotName: slot, metrics, logger } = this.#options;
    if (step.kind === 'refuse') throw new WindowSlotForeignError();
    if (step.kind === 'advance') return session.advance(step.toLsn);
    if (step.kind === 'drop' || step.kind === 'recreate') await session.drop();
    if (step.kind === 'create' || step.kind === 'recreate') await session.create();
    const isMissing = step.kind === 'create' && this.#hadSlot;
    const reason = step.kind === 'recreate' ? step.reason : isMissing ? 'missing' : undefined;
    if (reason !== undefined) metrics.replayWindowLost.inc({ reason });
    this.#hadSlot = step.kind !== 'drop';
    const level = reason === undefined ? 'info' : 'warn';
    const remedy = LOST_REMEDIES[reason ?? ''] ?? '';
    logger[level](
      { event: READER_REPLAY_WINDOW, slot, step: step.kind, reason },
      `${STEP_MESSAGES[step.kind]}${remedy}`,
    );
  }

  #report({ slot, flushLsn }: WindowFacts): void {
    const { checkpoint, metrics } = this.#options;
    const oldestLsn = slot?.isLost === false ? slot.confirmedFlushLsn : null;
    const { windowMarks: marks, throughLsn } = checkpoint();
    const ageMs = oldestLsn === null ? 0 : windowAgeMs(oldestLsn, { marks, throughLsn, nowMs: this.#nowMs() });
    const keptBytes = slot?.restartLsn == null ? 0 : Number(flushLsn - slot.restartLsn);
    metrics.replayWindow(oldestLsn, keptBytes, ageMs / 1_000);
  }

  #fail(error: Error & { code?: string }): void {
    const { windowSlotName: slot, metrics, logger } = this.#options;
    const reason = error.code ?? error.name;
    metrics.replayWindowFailures.inc({ reason });
    if (this.#failure === reason) return;
    this.#failure = reason;
    logger.warn({ event: READER_REPLAY_WINDOW_FAILED, slot, err: error }, explain(error));
  }

  async #closeSession(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await session
      ?.close()
      .catch((error) => this.#options.logger.debug({ err: error }, 'The session of the replay window had ended.'));
  }
}

const STEP_MESSAGES: Readonly<Partial<Record<WindowStep['kind'], string>>> = {
  create:
    'The replay-window slot was created: WAL is kept for replays from here on. It is not the slot that is streamed.',
  recreate:
    'The replay-window slot was recreated: orders before it can no longer be replayed from WAL. Publishing is not affected.',
  drop: 'The replay-window slot was dropped, as REPLAY_WINDOW_BYTES is 0: no WAL is kept for replays.',
};

const LOST_REMEDIES: Readonly<Record<string, string>> = {
  idle_timeout:
    ' It was idle for longer than idle_replication_slot_timeout, and will be again: run ' +
    'ALTER SYSTEM SET idle_replication_slot_timeout = 0 and SELECT pg_reload_conf().',
  wal_removed:
    ' It kept more WAL than max_slot_wal_keep_size allows: raise that above REPLAY_WINDOW_BYTES, or lower REPLAY_WINDOW_BYTES.',
};

const TOO_MANY_SLOTS = '53400';

function explain(error: Error & { code?: string }): string {
  if (error.code === TOO_MANY_SLOTS) {
    return 'No replication slot is free for the replay window: raise max_replication_slots, or set REPLAY_WINDOW_BYTES=0.';
  }
  return 'The replay window can not be kept; publishing continues, and it is retried.';
}
