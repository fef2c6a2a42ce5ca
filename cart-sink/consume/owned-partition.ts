/**
 * The state of one owned partition: where it stands, whether it may take fetches, and what ends it.
 *
 * Guarantees: fetches are processed one after the other; the position moves only after the carts database has
 * committed. After a failure, or when another sink owns it, the partition takes nothing more: a new assignment reads
 * from the database where to resume. Paused at a replay run that this sink must not apply, it takes nothing until it is
 * resumed.
 */

import type { FetchedBatch } from '#kafka/reading/fetched-batch.ts';
import type { ReplayStamp } from '#schemas/replay/records.ts';
import { HaltError } from '#service/halt.ts';
import type { AppliedCounts } from '../apply/apply-batch.ts';
import type { Batch } from '../apply/batch.ts';
import type { RetriedResult } from '../apply/retry.ts';
import { LogReplacedError, OffsetWentBackError } from '../errors.ts';
import type { Ownership, StoredOffset } from '../sql/consumer-offsets.ts';
import type { UnappliedOrder } from './log-check.ts';
import type { ChunkLimits } from './parse-records.ts';
import type { AdmitReplay, HeldRun } from './replay-admission.ts';

/** Why a partition takes nothing more, and its session ends. */
export type PartitionEnd =
  | { readonly kind: 'halted'; readonly error: HaltError }
  /** Fenced: another sink owns the partition. */
  | { readonly kind: 'stale-owner'; readonly topic: string; readonly partition: number }
  | { readonly kind: 'failed'; readonly error: unknown };

export function formatError(error: unknown): PartitionEnd {
  return error instanceof HaltError ? { kind: 'halted', error } : { kind: 'failed', error };
}

export interface PartitionOptions {
  readonly ownership: Ownership;
  readonly consumerGroup: string;
  /** Whether a run's records are applied; undefined for the live topic, which has no runs. */
  readonly admitReplay: AdmitReplay | undefined;
  readonly limits: ChunkLimits;
  readonly apply: (batch: Batch, signal: AbortSignal) => Promise<RetriedResult>;
  /** What the carts database holds for the partition. */
  readonly readStored: () => Promise<StoredOffset | undefined>;
  /** An order before this position that was never applied: the log is another one; null if there is none. */
  readonly findUnapplied: (position: bigint) => Promise<UnappliedOrder | null>;
  readonly onApplied: (batch: Batch, counts: AppliedCounts) => void;
  /** The next record is of this run, which must not be applied: fetches are ignored until `resume`. */
  readonly onPaused: (held: HeldRun) => void;
  /** Only this partition has halted: it is closed, and its session goes on with the others. */
  readonly onHalted: (error: HaltError) => void;
  /** Called once; the partition is closed from then on. */
  readonly onEnd: (end: PartitionEnd) => void;
}

export class OwnedPartition {
  readonly ownership: Ownership;
  readonly topicKind: 'live' | 'replay';
  readonly #options: PartitionOptions;
  #position: bigint;
  #maxRecords: number;
  /** Of the last record that was taken; undefined before the first. */
  #leaderEpoch: number | undefined;
  #lastCommittedAt: bigint | undefined;
  #pausedAt: HeldRun | undefined;
  #isPaused = false;
  #isClosed = false;
  #halted: HaltError | undefined;
  #fetchesInProgress = 0;
  #tail: Promise<void> = Promise.resolve();

  constructor(options: PartitionOptions) {
    this.#options = options;
    this.ownership = options.ownership;
    this.topicKind = options.admitReplay === undefined ? 'live' : 'replay';
    this.#position = options.ownership.nextOffset;
    this.#maxRecords = options.limits.maxRecords;
  }

  /** The next offset to apply: what the database holds. */
  position = (): bigint => this.#position;

  isOpen = (): boolean => !this.#isClosed;

  /** Why only this partition has halted; whoever takes it over decides again. */
  halted = (): HaltError | undefined => this.#halted;

  /** Whether no fetch is in progress. */
  isIdle = (): boolean => this.#fetchesInProgress === 0;

  /** Resolves when the fetches that were given so far are done with. */
  idle = (): Promise<void> => this.#tail;

  /** Commit time of the newest applied order in the orders database, in µs since 1970; undefined before the first. */
  lastCommittedAt = (): bigint | undefined => this.#lastCommittedAt;

  /** The run that the partition is paused at, from when it was first met until it was passed. */
  pausedAt = (): HeldRun | undefined => this.#pausedAt;

  /** Lets a paused partition take fetches from its position on, and decide again. */
  resume = (): void => {
    this.#isPaused = false;
  };

  /** The limits of the next batch: smaller after a time limit. */
  limits = (): ChunkLimits => ({ ...this.#options.limits, maxRecords: this.#maxRecords });

  apply: PartitionOptions['apply'] = (batch, signal) => this.#options.apply(batch, signal);

  /** Runs `work` after the fetches before it, unless nothing may be taken any more. An error ends the partition. */
  inSequence(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    this.#fetchesInProgress += 1;
    this.#tail = this.#tail.then(async () => {
      try {
        if (!this.#isClosed && !this.#isPaused && !signal.aborted) await work();
      } catch (error) {
        if (!this.#isClosed) this.#end(formatError(error));
      } finally {
        this.#fetchesInProgress -= 1;
      }
    });
    return this.#tail;
  }

  /** Another sink owns the partition. */
  endAsFenced(): void {
    const { topic, partition } = this.ownership;
    this.#end({ kind: 'stale-owner', topic, partition });
  }

  /** Takes nothing more, and stores nothing; the session goes on. */
  halt(error: HaltError): void {
    this.#isClosed = true;
    this.#halted = error;
    this.#options.onHalted(error);
  }

  #end(reason: PartitionEnd): void {
    if (reason.kind === 'halted' && reason.error.scope === 'partition') {
      this.halt(reason.error);
      return;
    }
    this.#isClosed = true;
    this.#options.onEnd(reason);
  }

  /**
   * Every fetch must have asked for the position: what begins elsewhere would be applied twice or leave records out. That
   * Kafka does not have the position is for the takeover to find.
   */
  async checkContinuity(fetched: FetchedBatch): Promise<'continues' | 'fenced'> {
    const { firstOffset } = fetched;
    const position = this.#position;
    if (firstOffset === position) return this.#checkLog(fetched);
    if (!(await this.#isStillOwner())) return 'fenced';
    const { topic, partition } = this.ownership;
    if (firstOffset < position)
      throw new OffsetWentBackError({ topic, partition, expected: position, fetched: firstOffset });
    throw new Error(`A fetch of ${topic}[${partition}] from offset ${firstOffset} does not continue at ${position}`);
  }

  /** A log that has lost its end goes on under another leader epoch: then what lies before the position must be what was applied. */
  async #checkLog({ leaderEpochs }: FetchedBatch): Promise<'continues' | 'fenced'> {
    if (leaderEpochs === undefined || this.topicKind === 'replay') return 'continues';
    // Before the first order, and after an operator has moved the offset over some, nothing has to be applied.
    const hasApplied = this.ownership.lastCommitLsn !== null || this.#lastCommittedAt !== undefined;
    if (hasApplied && leaderEpochs.first !== this.#leaderEpoch) {
      const expected = this.#position;
      const unapplied = await this.#options.findUnapplied(expected);
      if (unapplied !== null) {
        if (!(await this.#isStillOwner())) return 'fenced';
        const { offset: fetched, orderId } = unapplied;
        throw new LogReplacedError({ ...this.ownership, expected, fetched, orderId });
      }
    }
    this.#leaderEpoch = leaderEpochs.last;
    return 'continues';
  }

  /**
   * A gap counts only for the owner: a sink that was paused for long may ask for records that its successor has applied
   * and retention has deleted since.
   */
  async #isStillOwner(): Promise<boolean> {
    const stored = await this.#options.readStored();
    const isOwner = stored?.ownerEpoch === this.ownership.ownerEpoch && stored.nextOffset === this.#position;
    if (!isOwner) this.endAsFenced();
    return isOwner;
  }

  /** stop: the partition is paused at this run, or `signal` was aborted. */
  async admit(replay: ReplayStamp | null, signal: AbortSignal): Promise<'apply' | 'skip' | 'stop'> {
    if (replay === null) return 'apply';
    try {
      const admission = await this.#options.admitReplay!(replay, signal);
      if (admission === 'apply' || admission === 'skip') return admission;
      this.#pausedAt = { ...replay, why: admission };
    } catch (error) {
      if (signal.aborted) return 'stop';
      throw error;
    }
    this.#isPaused = true;
    this.#options.onPaused(this.#pausedAt);
    return 'stop';
  }

  /** A batch from the position on. */
  createBatch(nextOffset: bigint, content: Pick<Batch, 'entries' | 'replay' | 'tally' | 'bytes'>): Batch {
    const { topic, partition, ownerEpoch } = this.ownership;
    const { consumerGroup } = this.#options;
    return { consumerGroup, topic, partition, ownerEpoch, expectedOffset: this.#position, nextOffset, ...content };
  }

  /** The batch ran into a time limit. */
  halveBatches(records: number): void {
    this.#maxRecords = Math.max(1, Math.floor(records / 2));
  }

  /** The carts database has committed `batch`. */
  advance(batch: Batch, counts: AppliedCounts): void {
    this.#position = batch.nextOffset;
    const newest = batch.entries.findLast((entry) => entry.kind === 'order')?.event;
    this.#lastCommittedAt = newest?.committedAt ?? this.#lastCommittedAt;
    this.#maxRecords = Math.min(this.#options.limits.maxRecords, this.#maxRecords * 2);
    this.#pausedAt = undefined;
    this.#options.onApplied(batch, counts);
  }
}
