// Publishing: group after group becomes one Kafka transaction with the checkpoint that covers it, and is then due to be
// acknowledged. Guarantees: whole database transactions in commit order, one Kafka transaction in flight (I4, I5); where
// one can't be published, the whole ones before it are published and acknowledged, and then the reader halts; a partial
// checkpoint is kept until the rest of its transaction is published. Progress without orders is recorded now and then.
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { addOrderId, hashOrderIds } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import { failpoint } from '#service/failpoint.ts';
import { EventTooLargeError } from '../encode/unpublishable-errors.ts';
import { READER_PUBLISHED, type ReaderMetrics } from '../metrics.ts';
import type { ReplicationStream } from '../postgres/replication-stream.ts';
import { GroupTooLargeError } from '../supervise/restart-errors.ts';
import type { Acknowledger } from './acknowledge.ts';
import type { CaptureCheck } from './capture-check.ts';
import { partlyPublishedDiffers, publishHuge } from './huge-transaction.ts';
import { CheckpointedTransactions, type TransactionsOptions } from './kafka-transaction.ts';
import type { Group, Queue } from './queue.ts';

/** While nothing comes, the tables are checked this often: rows of a swapped-in table would not come either. */
const IDLE_CHECK_MS = 1_000;

export class Publisher {
  readonly #options: TransactionsOptions;
  readonly #transactions: CheckpointedTransactions;

  constructor(options: TransactionsOptions) {
    this.#options = options;
    this.#transactions = new CheckpointedTransactions(options);
  }

  /** The newest checkpoint that Kafka has committed. */
  get checkpoint(): Checkpoint {
    return this.#transactions.checkpoint;
  }

  /** @throws ContentsDifferError when the rest of a partly published transaction is not what comes next. */
  async publishGroup(group: Group): Promise<void> {
    const { config, metrics, logger } = this.#options;
    const startedAtMs = performance.now();
    const { huge, first, throughLsn } = group;
    const { partial } = this.checkpoint;
    if (partial !== null && partial.commitLsn !== first.commitLsn) {
      throw partlyPublishedDiffers(this, partial.commitLsn);
    }
    if (huge !== undefined) await publishHuge(this.#transactions, huge, throughLsn, config);
    else await this.#publishEncoded(group).catch((error) => isolate(error, group));
    metrics.publishedGroup(group, (performance.now() - startedAtMs) / 1000);
    const { orders, transactions } = group;
    logger.debug(
      { event: READER_PUBLISHED, orders, transactions, throughLsn: formatLsn(this.checkpoint.throughLsn) },
      'Kafka has committed a group of transactions.',
    );
  }

  async #publishEncoded({ events, last, throughLsn }: Group): Promise<void> {
    const hash = hashOrderIds();
    for (let index = last.fromIndex; index < events.length; index++) addOrderId(hash, events[index]!.orderId);
    const { orderId, ordinal } = events.at(-1)!;
    const lastPublished = { commitLsn: last.commitLsn, ordinal, orderId, ordersHash: hash.digest('hex') };
    await this.#transactions.run(async ({ sendLast }) => {
      await failpoint('reader.before-send');
      await sendLast(events, { lastPublished, throughLsn, partial: null });
      await failpoint('reader.after-send');
    });
  }

  /** Records progress without events. @throws ContentsDifferError as publishGroup does */
  async publishProgress(throughLsn: Lsn): Promise<void> {
    const { partial } = this.checkpoint;
    if (partial !== null && throughLsn > partial.commitLsn) throw partlyPublishedDiffers(this, partial.commitLsn);
    // What is partly published stays so: forgotten, its first orders would be published again when it comes (I4).
    await this.#transactions.run(({ sendLast }) => sendLast([], { throughLsn }));
  }
}

/** Of several transactions, the one that is too large is not known, and the others must be published first. */
function isolate(error: unknown, { transactions, last }: Group): never {
  if (!(error instanceof EventTooLargeError) || transactions === 1) throw error;
  throw new GroupTooLargeError(transactions, last.commitLsn, { cause: error });
}

interface LoopOptions {
  readonly queue: Queue;
  readonly publisher: Publisher;
  readonly captureCheck: CaptureCheck;
  readonly acknowledger: Acknowledger;
  readonly stream: Pick<ReplicationStream, 'pause' | 'resume'>;
  readonly metrics: ReaderMetrics;
  readonly idleCheckpointMs: number;
  /** A stop takes in nothing more, but publishes what it has; the end of the start publishes nothing more. */
  readonly stop: AbortSignal;
  readonly ended: AbortSignal;
}

/** Publishes what is queued until `stop`, with everything that was taken in by then. @throws what ends this start */
export async function runPublishLoop(options: LoopOptions): Promise<void> {
  const { queue, publisher, captureCheck, acknowledger, idleCheckpointMs, stop, ended } = options;
  const throughLsn = () => publisher.checkpoint.throughLsn;
  let recordedAtMs = performance.now();

  // Progress without orders goes through the checkpoint too, or Postgres could never remove its WAL (I7).
  const recordIdleProgress = async (): Promise<void> => {
    const { idleLsn } = queue;
    const isDue = queue.isReplyWanted || performance.now() - recordedAtMs >= idleCheckpointMs;
    queue.isReplyWanted = false;
    if (!isDue || idleLsn <= throughLsn()) return;
    recordedAtMs = performance.now();
    await publisher.publishProgress(idleLsn);
    await acknowledger.published(idleLsn);
  };

  while (!stop.aborted) {
    const isWoken = await queue.waitForWork(Math.min(IDLE_CHECK_MS, idleCheckpointMs));
    if (ended.aborted) return; // nobody waits for this any more, and nobody else would end it
    if (!isWoken) await captureCheck.run(throughLsn());
    queue.startPublishing();
    await publishPending(options);
    if (queue.refusal !== undefined) {
      await captureCheck.run(throughLsn(), queue.refusal.xid); // a change of the tables is the better reason
      throw queue.refusal.error;
    }
    await recordIdleProgress();
    queue.isPublishing = false;
  }
}

async function publishPending(options: LoopOptions): Promise<void> {
  const { queue, publisher, acknowledger, stream, metrics, stop, ended } = options;
  for (let group = queue.take(); group !== undefined; group = queue.take()) {
    metrics.pending(queue);
    if (!queue.isFull && !stop.aborted && !ended.aborted && queue.refusal === undefined) stream.resume();
    try {
      await publisher.publishGroup(group);
    } catch (error) {
      queue.refuse(error);
      stream.pause();
      queue.discard(); // it lies behind what can't be published
    } finally {
      group.huge?.close();
    }
    await failpoint('reader.after-publish');
    await acknowledger.published(publisher.checkpoint.throughLsn);
  }
  metrics.pending(queue);
}
