/**
 * Joins the batches that partitions offer into common transactions: what is offered while the transactions before are in
 * flight makes the next one (group commit).
 *
 * Guarantees: a transaction holds batches of one topic and of one replay run or none, within the limits of records and bytes;
 * partitions take turns; a batch that failed in common is tried by itself, over connections of which the common transactions
 * need none, and its partition stays apart until one of its batches has passed so. Leaves to retry.ts: the tries themselves.
 */
import type { TopicPartition } from '../sql/consumer-offsets.ts';
import type { Batch } from './batch.ts';
import { type ApplyIo, applyAlone, applyInCommon, type RetriedResult, type RetryReport } from './retry.ts';

export interface JoinOptions {
  readonly io: ApplyIo;
  readonly report: RetryReport;
  /** Of one transaction. */
  readonly limits: { readonly maxRecords: number; readonly maxBytes: number };
  /** Common transactions at a time, and as many of batches by themselves. */
  readonly concurrency: number;
}

/** Rejects with a HaltError, or with what needs a person. */
export type ApplyBatch = (batch: Batch, signal: AbortSignal) => Promise<RetriedResult>;

interface Offered {
  readonly batch: Batch;
  readonly signal: AbortSignal;
  readonly settle: (result: RetriedResult | Promise<RetriedResult>) => void;
}

const keyOf = ({ topic, partition }: TopicPartition): string => `${topic}[${partition}]`;

export function createBatchJoiner({ io, report, limits, concurrency }: JoinOptions): ApplyBatch {
  const offered: Offered[] = [];
  const apart = new Set<string>();
  const oneByOne = createTurns(concurrency);
  let running = 0;
  let isScheduled = false;

  /** Takes those that may share a transaction with the first, in the order in which they were offered. */
  const takeGroup = (): readonly Offered[] => {
    const first = offered[0]!;
    const group: Offered[] = [];
    let [records, bytes] = [0, 0];
    for (const one of offered) {
      records += one.batch.entries.length;
      bytes += one.batch.bytes;
      const isWithin = records <= limits.maxRecords && bytes <= limits.maxBytes;
      if (group.length > 0 && !(isWithin && mayJoin(first, one))) break;
      group.push(one);
    }
    offered.splice(0, group.length);
    return group;
  };

  const ioApart: ApplyIo = { ...io, applyTogether: (batches) => oneByOne(() => io.applyTogether(batches)) };
  const applyApart: ApplyBatch = async (batch, signal) => {
    try {
      const result = await applyAlone(batch, ioApart, report, signal);
      // What is too large is cut smaller, and comes again.
      if (result.kind !== 'too-large') apart.delete(keyOf(batch));
      return result;
    } catch (error) {
      apart.delete(keyOf(batch)); // its partition has ended
      throw error;
    }
  };

  const applyGroup = async (group: readonly Offered[]): Promise<void> => {
    const { signal } = group[0]!;
    const batches = group.map(({ batch }) => batch);
    const results = await applyInCommon(batches, io, report, signal);
    for (const { batch, settle } of group) {
      const result = results.get(batch)!;
      if (result.kind === 'apart') {
        apart.add(keyOf(batch));
        settle(applyApart(batch, signal));
      } else settle(result);
    }
  };

  const startGroups = (): void => {
    isScheduled = false;
    while (running < concurrency && offered.length > 0) {
      running += 1;
      void applyGroup(takeGroup()).finally(() => {
        running -= 1;
        schedule();
      });
    }
  };
  /** After everything that the same answer of Kafka, or of the database, has set going. */
  const schedule = (): void => {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(startGroups);
  };

  return (batch, signal) => {
    if (apart.has(keyOf(batch))) return applyApart(batch, signal);
    return new Promise((settle) => {
      offered.push({ batch, signal, settle });
      schedule();
    });
  };
}

function mayJoin({ batch: one, signal }: Offered, { batch: other, signal: otherSignal }: Offered): boolean {
  const isSame = (key: 'runId' | 'mode' | 'ruleVersion'): boolean => one.replay?.[key] === other.replay?.[key];
  const isSameRun = isSame('runId') && isSame('mode') && isSame('ruleVersion');
  return one.topic === other.topic && signal === otherSignal && isSameRun;
}

/** Runs at most `limit` works at a time, the others in the order in which they came. */
function createTurns(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  const queue: (() => void)[] = [];
  let free = limit;
  return async (work) => {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = queue.shift();
      if (next === undefined) free += 1;
      else next();
    }
  };
}
