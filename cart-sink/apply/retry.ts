/**
 * Retries database work through transient errors, and learns what became of batches whose COMMIT was not answered.
 *
 * Guarantees: transient errors are retried for ever, with back-off and jitter (I8); a COMMIT without an answer is never
 * assumed to have happened or not, the stored offset of each partition is read and decides for that one alone (I3, I6).
 * Retrying a batch is safe: it only applies on top of its expected offset. What fails in common, and may be the fault of
 * one, is tried by itself. There a cause that needs a person ends the session, so that another sink takes over, and any other
 * error halts the partition at the one record that can't be applied: a retry would loop on it, skipping it loses an order.
 */
import { causesOf, classifyFailure } from '#service/failure.ts';
import { HaltError } from '#service/halt.ts';
import { type BackOff, retry } from '#service/retry.ts';
import { CommitOutcomeUnknownError, SinkDefectError } from '../errors.ts';
import type { StoredOffset, TopicPartition } from '../sql/consumer-offsets.ts';
import type { AppliedCounts, TogetherResult } from './apply-batch.ts';
import type { Batch, BatchEntry } from './batch.ts';

/** The longest is short, so that after an outage of minutes the sink is back within seconds. */
const SINK_BACK_OFF: BackOff = { firstMs: 100, longestMs: 5_000, random: Math.random };

/** A SQLSTATE or short name, for metrics; undefined if the error is not known to be transient. */
export function findTransientReason(error: unknown): string | undefined {
  if (error instanceof HaltError) return undefined;
  if (error instanceof CommitOutcomeUnknownError) return 'outcome-unknown';
  const failure = classifyFailure(error);
  return failure.kind === 'transient' ? failure.reason : undefined;
}

export interface RetryReport {
  readonly onRetry: (reason: string, error: unknown, waitMs: number) => void;
  /** Called when work has succeeded that failed before. */
  readonly onRecovered: () => void;
}

/** Retries `work` until it succeeds. Rejects when `signal` aborts, and with an error not known to be transient. */
export function retryTransient<T>(
  work: () => Promise<T>,
  { onRetry, onRecovered }: RetryReport,
  signal: AbortSignal,
): Promise<T> {
  let hasFailed = false;
  const attempt = async (): Promise<T> => {
    const result = await work();
    if (hasFailed) onRecovered();
    return result;
  };
  return retry(attempt, {
    backOff: SINK_BACK_OFF,
    isTransient: (error) => findTransientReason(error) !== undefined,
    onRetry: (error, waitMs) => {
      hasFailed = true;
      onRetry(findTransientReason(error)!, error, waitMs);
    },
    signal,
  });
}

type BatchResult =
  | ({ readonly kind: 'applied' } & AppliedCounts)
  /** Fenced: the partition has another owner, or its offset is another. Nothing was changed. */
  | { readonly kind: 'stale-owner' };

/** Aborted before the batch was applied or fenced: what the database holds is unknown, so nothing may follow. */
interface Interrupted {
  readonly kind: 'interrupted';
}

export type RetriedResult =
  | BatchResult
  | Interrupted
  /** Ran into a time limit, or one of its records can't be applied: a smaller batch may succeed where this one never would. */
  | { readonly kind: 'too-large' };

/** apart: not applied; to be tried by itself. */
export type CommonResult = BatchResult | Interrupted | { readonly kind: 'apart' };

export interface ApplyIo {
  readonly applyTogether: (batches: readonly Batch[]) => Promise<TogetherResult>;
  readonly readStored: (partition: TopicPartition) => Promise<StoredOffset | undefined>;
}

/** One result for each of `batches`, from one transaction of all. Does not throw. */
export async function applyInCommon(
  batches: readonly Batch[],
  io: ApplyIo,
  report: RetryReport,
  signal: AbortSignal,
): Promise<ReadonlyMap<Batch, CommonResult>> {
  const pending = new PendingBatches<CommonResult>(batches, io);
  const attempt = async (): Promise<void> => {
    try {
      await pending.apply();
    } catch (error) {
      // While the outcome is unknown nothing may be tried again, alone or not.
      if (pending.isOutcomeUnknown || concernsAll(error)) throw error;
      pending.end({ kind: 'apart' });
    }
  };
  await retryTransient(attempt, report, signal).catch(() => {
    pending.end({ kind: signal.aborted ? 'interrupted' : 'apart' });
  });
  return pending.results;
}

/**
 * The result of `batch`, from a transaction of its own.
 * @throws HaltError: continuity is broken, or nobody knows the error; else what needs a person
 */
export async function applyAlone(
  batch: Batch,
  io: ApplyIo,
  report: RetryReport,
  signal: AbortSignal,
): Promise<RetriedResult> {
  const pending = new PendingBatches<RetriedResult>([batch], io);
  let isTooLarge = false;
  const attempt = async (): Promise<void> => {
    if (isTooLarge) return pending.end({ kind: 'too-large' });
    try {
      await pending.apply();
    } catch (error) {
      if (pending.isOutcomeUnknown || error instanceof HaltError) throw error;
      const isDefect = classifyFailure(error).kind === 'unknown';
      if (batch.entries.length > 1) {
        isTooLarge = isTimeLimit(error);
        if (isDefect) return pending.end({ kind: 'too-large' });
      }
      const offset = batch.entries[0]?.offset ?? batch.expectedOffset; // control and aborted records may lie before it
      throw isDefect ? new SinkDefectError({ ...batch, offset }, error) : error;
    }
  };
  try {
    await retryTransient(attempt, report, signal);
  } catch (error) {
    if (error instanceof HaltError || !signal.aborted) throw error;
    pending.end({ kind: 'interrupted' });
  }
  return pending.results.get(batch)!;
}

/** The batches of one transaction until each has a result. */
class PendingBatches<Result> {
  readonly results = new Map<Batch, BatchResult | Result>();
  /** A COMMIT was not answered, and the stored offsets have not been read since. */
  isOutcomeUnknown = false;
  readonly #batches: readonly Batch[];
  readonly #io: ApplyIo;

  constructor(batches: readonly Batch[], io: ApplyIo) {
    this.#batches = batches;
    this.#io = io;
  }

  /** Applies those without a result, but for what another sink owns. */
  async apply(): Promise<void> {
    try {
      if (this.isOutcomeUnknown) await this.#readOutcomes();
      for (let left = this.#remaining(); left.length > 0; left = this.#remaining()) {
        const result = await this.#io.applyTogether(left);
        if (result.kind === 'fenced') for (const batch of result.lost) this.results.set(batch, { kind: 'stale-owner' });
        else
          for (const [at, batch] of left.entries()) this.results.set(batch, { kind: 'applied', ...result.counts[at]! });
      }
    } catch (error) {
      if (error instanceof CommitOutcomeUnknownError) this.isOutcomeUnknown = true;
      throw error;
    }
  }

  /** Those without a result have this one. */
  end(result: Result): void {
    for (const batch of this.#remaining()) this.results.set(batch, result);
  }

  #remaining = (): readonly Batch[] => this.#batches.filter((batch) => !this.results.has(batch));

  async #readOutcomes(): Promise<void> {
    const outcomes: [Batch, BatchResult | undefined][] = [];
    for (const batch of this.#remaining()) outcomes.push([batch, findOutcome(batch, await this.#io.readStored(batch))]);
    for (const [batch, outcome] of outcomes) if (outcome !== undefined) this.results.set(batch, outcome);
    this.isOutcomeUnknown = false;
  }
}

/** What became of a batch whose COMMIT was not answered; undefined if it was not applied. */
function findOutcome(batch: Batch, stored: StoredOffset | undefined): BatchResult | undefined {
  if (stored === undefined || stored.ownerEpoch !== batch.ownerEpoch) return { kind: 'stale-owner' };
  if (stored.nextOffset === batch.expectedOffset) return undefined;
  if (stored.nextOffset !== batch.nextOffset) return { kind: 'stale-owner' };
  // Which of the orders were duplicates was lost with the answer.
  const count = (wanted: BatchEntry['kind']) => batch.entries.filter(({ kind }) => kind === wanted).length;
  return { kind: 'applied', orders: count('order'), duplicates: 0, changed: 0, parked: count('unreadable') };
}

const hasCode = (error: unknown, codes: RegExp): boolean =>
  [...causesOf(error)].some((cause) => codes.test(String((cause as { code?: unknown }).code)));

/** The statement or transaction ran into its time limit. */
const isTimeLimit = (error: unknown): boolean => hasCode(error, /^(57014|25P04)$/);

/** Time, lock and memory limits are transient, but for one of the batches they may come again and again. */
function concernsAll(error: unknown): boolean {
  return findTransientReason(error) !== undefined && !hasCode(error, /^(55P03|57014|25P04|53200)$/);
}
