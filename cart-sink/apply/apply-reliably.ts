/**
 * Applies one batch through faults that pass, until it is known what became of it.
 *
 * Guarantees: never assumes the outcome of a COMMIT without an answer, but reads the settled offset (I3, I6); retries
 * passing faults for ever with back-off (I8), unless told to come back; reports another owner as such; anything else
 * is a defect and thrown as a halt. Retrying is safe because a batch only applies on top of its expected offset.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { HaltError } from '#service/halt.ts';
import { SinkDefectError } from '../errors.ts';
import type { Batch, SinkEntry } from './batch.ts';
import type { SettledOffset } from './ownership.ts';
import { backOffMs, isTimeLimit, judgeFault } from './retry.ts';

/** What one transaction did, in records. */
export interface AppliedCounts {
  /** Orders that were new to the ledger. */
  readonly orders: number;
  /** Orders that the ledger had, and whose effect stayed. */
  readonly duplicates: number;
  /** Orders that the ledger had, and whose effect a replay has changed. */
  readonly changed: number;
  readonly parked: number;
}

/** The database half's answer. */
export type ApplyResult = ({ readonly kind: 'applied' } & AppliedCounts) | { readonly kind: 'stale-owner' };

export type ReliableResult =
  | ({ readonly kind: 'applied' } & AppliedCounts)
  | { readonly kind: 'stale-owner' }
  /** Told to come back before it succeeded: what the database holds is unknown, so nothing may follow it. */
  | { readonly kind: 'interrupted' }
  /** Ran into a time limit: a smaller batch may pass where this one never would. */
  | { readonly kind: 'too-slow' };

export interface ReliableApply {
  readonly apply: (batch: Batch) => Promise<ApplyResult>;
  readonly readSettled: (batch: Batch) => Promise<SettledOffset | undefined>;
  readonly onRetry: (reason: string, error: unknown, waitMs: number) => void;
  readonly random: () => number;
}

/** @throws HaltError: continuity is broken, or the sink has a defect. */
export async function applyReliably(
  options: ReliableApply,
  batch: Batch,
  signal: AbortSignal,
): Promise<ReliableResult> {
  let outcomeUnknown = false;
  for (let attempt = 1; ; attempt += 1) {
    if (signal.aborted) return { kind: 'interrupted' };
    let reason = 'outcome-unknown';
    try {
      if (outcomeUnknown) {
        const settled = judgeSettled(batch, await options.readSettled(batch));
        if (settled !== 'not-applied') return settled;
        outcomeUnknown = false;
      }
      return await options.apply(batch);
    } catch (error) {
      if (error instanceof HaltError) throw error;
      const fault = judgeFault(error);
      if (fault.kind === 'defect') throw new SinkDefectError({ ...batch, offset: batch.expectedOffset }, error);
      if (fault.kind === 'outcome-unknown') outcomeUnknown = true;
      else reason = fault.reason;
      const waitMs = backOffMs(attempt, options.random);
      options.onRetry(reason, error, waitMs);
      await pause(waitMs, signal);
      if (!outcomeUnknown && isTimeLimit(reason) && batch.entries.length > 1) return { kind: 'too-slow' };
    }
  }
}

function judgeSettled(batch: Batch, found: SettledOffset | undefined): ReliableResult | 'not-applied' {
  if (found === undefined || found.ownerEpoch !== batch.ownerEpoch) return { kind: 'stale-owner' };
  if (found.nextOffset === batch.expectedOffset) return 'not-applied';
  if (found.nextOffset !== batch.nextOffset) return { kind: 'stale-owner' };
  // Which of them were duplicates went down with the answer.
  const count = (wanted: SinkEntry['kind']) => batch.entries.filter(({ kind }) => kind === wanted).length;
  return { kind: 'applied', orders: count('order'), duplicates: 0, changed: 0, parked: count('unreadable') };
}

async function pause(waitMs: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(waitMs, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
