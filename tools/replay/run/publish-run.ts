// Publishes a run to the replay topic: Kafka transactions of bounded size, each with orders and the progress that covers them,
// the last one with an end record for every partition. Guarantees: whenever it is stopped, killed or disconnected, the newest
// progress record describes exactly what is committed, and continuing from there publishes every order exactly once; every
// earlier publisher is fenced. Applying is left to the sinks, comparing to verdict.ts.
//
// A reapply without --to-lsn needs two passes. A live order that is applied before the first pass reaches its user's cart sees
// a cart that is not corrected yet, and may remove less than it should. Once the sinks have applied the first pass, every
// order applied from then on sees corrected carts; the second pass recomputes those applied live in between. No third pass is
// needed: capped subtractions leave the same quantity in whichever sequence they are applied, so an order of the second pass
// and a later live one share what is there.

import { setTimeout as delay } from 'node:timers/promises';
import type { OutgoingRecord, TransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import type { JsonValue } from '#schemas/replay/plan.ts';
import { createOrderFilter, type PlannedPass, type ReplayPlan, stampOf } from '#schemas/replay/plan.ts';
import { addOrders, beginProgress, formatProgress, type Progress } from '#schemas/replay/progress.ts';
import { EMPTY_TALLY, formatReplayEnd, formatReplayHeaders, REPLAY_PROGRESS_KEY } from '#schemas/replay/records.ts';
import { failpoint } from '#service/failpoint.ts';
import type { ReplaySource, SourceOrder } from '../sources/source.ts';

/** Orders in one Kafka transaction: like the reader's, small beside what sinks and brokers take at once. */
const TRANSACTION_ORDERS = 2_000;
const TRANSACTION_BYTES = 4 * 1024 * 1024;

export interface PublishOptions {
  readonly replayTopic: string;
  readonly openPass: (pass: PlannedPass) => ReplaySource;
  /** Waits until the sinks have applied what is published; plans what was applied live meanwhile, null if nothing was. */
  readonly planSecondPass: (progress: Progress) => Promise<PlannedPass | null>;
  readonly onPublished: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** Whether a second pass follows the first. */
function needsSecondPass({ mode, isOpenEnded }: ReplayPlan): boolean {
  return mode === 'reapply' && isOpenEnded;
}

/**
 * Continues from `found` (null: from the beginning) to the end.
 * @param producer created before `found` was read, so that no other process publishes meanwhile
 * @throws InterruptedError, and what source and producer throw; the run can be resumed after any of them
 */
export async function publishRun(
  producer: TransactionalProducer,
  plan: ReplayPlan,
  found: Progress | null,
  options: PublishOptions,
): Promise<Progress> {
  let progress = found ?? beginProgress(plan);
  options.onPublished(progress);
  if (progress.state === 'publishing') progress = await publishPass(producer, progress, options);
  if (progress.state === 'between') {
    const pass = await options.planSecondPass(progress);
    const second: Progress = {
      ...progress,
      state: 'publishing',
      passNumber: 2,
      cursor: null,
      pass: pass ?? progress.pass,
    };
    progress = await publishPass(producer, second, pass === null ? noOrders(options) : options);
  }
  return progress;
}

/** Nothing to read: only the end records are missing. */
function noOrders(options: PublishOptions): PublishOptions {
  return { ...options, openPass: ({ source }) => ({ kind: source, async *read() {} }) };
}

async function publishPass(
  producer: TransactionalProducer,
  begun: Progress,
  options: PublishOptions,
): Promise<Progress> {
  const { openPass, onPublished, signal } = options;
  const { plan } = begun;
  const isWanted = createOrderFilter(plan);
  const pace = createPace(plan.ratePerSecond);
  let progress = begun;
  let pending: Batch = { orders: [], bytes: 0, cursor: begun.cursor, skipped: 0 };
  const publish = async (state: Progress['state']): Promise<void> => {
    signal.throwIfAborted();
    await pace(pending.orders.length, signal);
    progress = { ...addOrders(progress, pending.orders, pending), state };
    await publishTransaction(producer, progress, pending.orders, options.replayTopic);
    pending = { orders: [], bytes: 0, cursor: pending.cursor, skipped: 0 };
    onPublished(progress);
  };
  for await (const { orders, cursor, skipped = 0 } of openPass(begun.pass).read(begun.cursor, signal)) {
    const wanted = orders.filter(isWanted);
    const bytes = wanted.reduce((sum, { value }) => sum + value.length, 0);
    // With a rate each chunk is published on its own: bursts would exceed the rate.
    const isFull =
      pending.orders.length + wanted.length > TRANSACTION_ORDERS || pending.bytes + bytes > TRANSACTION_BYTES;
    if (pending.orders.length > 0 && (isFull || plan.ratePerSecond !== null)) await publish('publishing');
    pending = {
      orders: [...pending.orders, ...wanted],
      bytes: pending.bytes + bytes,
      cursor,
      skipped: pending.skipped + skipped,
    };
  }
  await publish(needsSecondPass(plan) && begun.passNumber === 1 ? 'between' : 'done');
  return progress;
}

interface Batch {
  readonly orders: readonly SourceOrder[];
  readonly bytes: number;
  readonly cursor: JsonValue | null;
  readonly skipped: number;
}

async function publishTransaction(
  producer: TransactionalProducer,
  progress: Progress,
  orders: readonly SourceOrder[],
  topic: string,
): Promise<void> {
  const { plan, tallies } = progress;
  const stamp = stampOf(plan);
  const [orderHeaders, endHeaders] = [formatReplayHeaders(stamp, 'order'), formatReplayHeaders(stamp, 'end')];
  const records: OutgoingRecord[] = orders.map(({ partition, key, value }) => {
    return { topic, partition, key, value, headers: orderHeaders };
  });
  for (let partition = 0; progress.state === 'done' && partition < plan.partitions; partition += 1) {
    const value = formatReplayEnd(tallies.get(partition) ?? EMPTY_TALLY);
    records.push({ topic, partition, key: 'tillstream.replay.end', value, headers: endHeaders });
  }
  const headers = formatReplayHeaders(stamp, 'progress');
  records.push({ topic, partition: 0, key: REPLAY_PROGRESS_KEY, value: formatProgress(progress), headers });
  await failpoint('replay.before-transaction');
  const transaction = await producer.begin();
  await transaction.send(records);
  await failpoint('replay.before-commit');
  await transaction.commit();
  await failpoint('replay.after-commit');
}

/** Delays each transaction as the rate demands, counted from the start of this pass. */
function createPace(ratePerSecond: number | null): (orders: number, signal: AbortSignal) => Promise<void> {
  const startMs = performance.now();
  let paced = 0;
  return async (orders, signal) => {
    if (ratePerSecond === null) return;
    paced += orders;
    const waitMs = startMs + (paced / ratePerSecond) * 1_000 - performance.now();
    if (waitMs <= 0) return;
    try {
      await delay(waitMs, undefined, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  };
}
