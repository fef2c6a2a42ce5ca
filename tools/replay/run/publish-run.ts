// Publishes a run to the replay topic: Kafka transactions of bounded size, each with orders and the progress that covers
// them, the last one with an end record for every partition. Guarantees: whenever it is stopped, killed or cut off, what
// is committed is what the newest progress record says, and going on from there publishes every order exactly once;
// whoever published before is fenced. Applying is the sinks'; judging is verdict.ts's.
//
// A reapply without a named end takes two passes. A live order that was applied before the first pass came to its user's
// cart saw a cart that was not corrected yet, and may have taken less than it would have. Once the sinks have applied the
// first pass, every order applied from then on sees corrected carts; the second pass recomputes those applied live in
// between. It leaves nothing behind for a third one: what capped subtractions leave of a line is the same in whichever
// order they come, so that an order of the second pass and a later live one share what there is.

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
  /** Waits until the sinks have applied what is published, then tells what was applied live meanwhile; null: nothing. */
  readonly planSecondPass: (progress: Progress) => Promise<PlannedPass | null>;
  readonly onPublished: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** Whether the first pass is to be followed by another. */
export function needsSecondPass({ mode, isOpenEnded }: ReplayPlan): boolean {
  return mode === 'reapply' && isOpenEnded;
}

/**
 * Goes on from `found` (null: from the beginning) to the end.
 * @param producer created before `found` was read, so that nobody else publishes meanwhile
 * @throws InterruptedError, and what source and producer throw; all of it can be resumed
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

/** With nothing to read: only the end records are left. */
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
  let waiting: Batch = { orders: [], bytes: 0, cursor: begun.cursor, skipped: 0 };
  const publish = async (state: Progress['state']): Promise<void> => {
    signal.throwIfAborted();
    await pace(waiting.orders.length, signal);
    progress = { ...addOrders(progress, waiting.orders, waiting), state };
    await publishTransaction(producer, progress, waiting.orders, options.replayTopic);
    waiting = { orders: [], bytes: 0, cursor: waiting.cursor, skipped: 0 };
    onPublished(progress);
  };
  for await (const { orders, cursor, skipped = 0 } of openPass(begun.pass).read(begun.cursor, signal)) {
    const wanted = orders.filter(isWanted);
    const bytes = wanted.reduce((sum, { value }) => sum + value.length, 0);
    // Each chunk goes out on its own where a rate is asked for: a bound in bursts would not be one.
    const isFull =
      waiting.orders.length + wanted.length > TRANSACTION_ORDERS || waiting.bytes + bytes > TRANSACTION_BYTES;
    if (waiting.orders.length > 0 && (isFull || plan.ratePerSecond !== null)) await publish('publishing');
    waiting = {
      orders: [...waiting.orders, ...wanted],
      bytes: waiting.bytes + bytes,
      cursor,
      skipped: waiting.skipped + skipped,
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

/** Waits before each transaction for as long as the rate asks, counted from the first one of this process. */
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
