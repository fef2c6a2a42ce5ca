// Publishing: a group of database transactions becomes one Kafka transaction together with the checkpoint that covers it
// (I5). Guarantees: a produce answer that does not go on where the last one ended is seen before the commit (a topic
// recreated under a running producer goes unnoticed by Kafka's client); nothing becomes visible before a publication
// check that began after it had come; a database transaction above the bounds goes out in several sends, and only past half of Kafka's transaction timeout with a partial checkpoint, which is kept until the
// rest of that very transaction is published. When to publish is the pipeline's.
import { performance } from 'node:perf_hooks';
import { RecordTooLargeError } from '#kafka/errors.ts';
import type { KafkaTransaction, OutgoingRecord } from '#kafka/producer/transactional-producer.ts';
import { recordBytes } from '#kafka/protocol/record.ts';
import { addOrderId, type Checkpoint, formatCheckpoint, hashOrderIds } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import { ContentsDifferError, LiveTopicChangedError } from '../errors.ts';
import { READER_PUBLISHED, type ReaderMetrics } from '../metrics.ts';
import { addWindowMark } from '../replay-window/decide.ts';
import type { ReaderSession } from '../startup/start-up.ts';
import { GroupTooLargeError } from '../supervise/restart-errors.ts';
import type { CaptureCheck } from './capture-check.ts';
import type { Group } from './group-commit.ts';
import { type EventRecord, eventRecord, type PreparedTransaction } from './prepare-transaction.ts';
import { EventTooLargeError } from './unpublishable-errors.ts';

export interface Publisher {
  /** The newest checkpoint that Kafka has committed. */
  readonly checkpoint: Checkpoint;
  /** @throws ContentsDifferError when the rest of a partly published transaction is not what comes next. */
  publishGroup(group: Group<PreparedTransaction>): Promise<void>;
  /** Records progress without events. @throws ContentsDifferError as publishGroup does */
  publishProgress(throughLsn: Lsn): Promise<void>;
}

export function createPublisher(options: {
  config: CdcReaderConfig;
  session: Pick<ReaderSession, 'producer' | 'checkpointTopic' | 'nextOffsets'> & { readonly checkpoint: Checkpoint };
  metrics: ReaderMetrics;
  logger: Logger;
  captureCheck: CaptureCheck;
  /** Told of each checkpoint once Kafka has committed it. */
  onPublished?: (checkpoint: Checkpoint) => void;
  nowMs?: () => number;
}): Publisher {
  const { config, session, metrics, logger, captureCheck, onPublished, nowMs = Date.now } = options;
  const { producer, checkpointTopic } = session;
  let checkpoint: Checkpoint = session.checkpoint;
  let nextOffsets = session.nextOffsets;

  /** Where each partition that was written to ends, the checkpoint's too; a commit marker takes one offset in each. */
  let ends = new Map(nextOffsets.map((end, partition) => [`${config.ordersTopic}[${partition}]`, end]));

  /** Sends, and looks whether every partition goes on where it ended; above is a duplicate marker, below another topic. */
  const send = async (
    kafka: KafkaTransaction,
    records: readonly OutgoingRecord[],
    written: Map<string, bigint>,
  ): Promise<void> => {
    const counts = new Map<string, bigint>();
    for (const { topic, partition } of records) {
      const name = `${topic}[${partition}]`;
      counts.set(name, (counts.get(name) ?? 0n) + 1n);
    }
    for (const { topic, partition, baseOffset } of await kafka.send(records)) {
      const name = `${topic}[${partition}]`;
      const expected = written.get(name) ?? ends.get(name) ?? 0n;
      if (baseOffset < expected) {
        throw new LiveTopicChangedError(`a produce answer lies below the end of ${name}`, { baseOffset, expected });
      }
      written.set(name, baseOffset + counts.get(name)!);
    }
  };

  /** One Kafka transaction: what `fill` sends, and the checkpoint it gives, become visible together or not at all. */
  const transact = async (
    fill: (kafka: KafkaTransaction, send: (records: readonly OutgoingRecord[]) => Promise<void>) => Promise<Checkpoint>,
  ): Promise<void> => {
    const written = new Map<string, bigint>();
    // All that is sent has come by now. Beside the sends the check takes no time of its own.
    const check = captureCheck.run(checkpoint.throughLsn);
    check.catch(() => undefined); // thrown where it is awaited, unless something else has ended this before
    const kafka = await producer.begin();
    try {
      const next = await fill(kafka, (records) => send(kafka, records, written));
      await check;
      await failpoint('reader.before-commit');
      await kafka.commit();
      checkpoint = next;
    } catch (error) {
      // What ended the transaction is the news; an abort that fails too is settled by the next start's fencing.
      await kafka.abort().catch((abortError) => logger.debug({ err: abortError }, 'The abort failed as well.'));
      if (error instanceof RecordTooLargeError) throw new EventTooLargeError(error, checkpoint.throughLsn);
      throw error;
    }
    ends = new Map([...ends, ...[...written].map(([name, end]) => [name, end + 1n] as const)]);
    nextOffsets = nextOffsets.map((end, partition) => ends.get(`${config.ordersTopic}[${partition}]`) ?? end);
    metrics.published(checkpoint);
    onPublished?.(checkpoint);
  };

  const nextCheckpoint = (changes: Pick<Checkpoint, 'throughLsn'> & Partial<Checkpoint>): Checkpoint => {
    const mark = { atMs: nowMs(), throughLsn: changes.throughLsn };
    const windowMarks = addWindowMark(checkpoint.windowMarks, mark, config.replayWindow);
    return { ...checkpoint, nextOffsets, windowMarks, capture: captureCheck.accepted, ...changes };
  };

  const publishEncoded = async (group: Group<PreparedTransaction>): Promise<void> => {
    const last = group.transactions.at(-1)!;
    const hash = hashOrderIds();
    for (const { orderId } of last.records!) addOrderId(hash, orderId);
    const { orderId, ordinal } = last.records!.at(-1)!;
    const next = nextCheckpoint({
      lastPublished: { commitLsn: last.commitLsn, ordinal, orderId, ordersHash: hash.digest('hex') },
      throughLsn: group.throughLsn,
      partial: null,
    });
    const records: OutgoingRecord[] = group.transactions.flatMap((transaction) => transaction.records!);
    records.push(checkpointTopic.record(formatCheckpoint(next)));
    await transact(async (_, sendAll) => {
      await failpoint('reader.before-send');
      await sendAll(records);
      await failpoint('reader.after-send');
      return next;
    });
  };

  /** Of several transactions, the one that is too large is not known, and the others must be published first. */
  const isolate = (error: unknown, { transactions }: Group<PreparedTransaction>): never => {
    if (!(error instanceof EventTooLargeError) || transactions.length === 1) throw error;
    throw new GroupTooLargeError(transactions.length, transactions.at(-1)!.commitLsn, { cause: error });
  };

  // One huge database transaction: several sends, and where half of Kafka's transaction timeout is reached, a commit
  // with a partial checkpoint (I5's one documented exception: before the broker aborts everything, again and again).
  const publishHuge = async (transaction: PreparedTransaction, throughLsn: Lsn): Promise<void> => {
    const hash = hashOrderIds();
    const { commitLsn, fromOrdinal } = transaction;
    // A partial checkpoint always leaves something to publish.
    if (fromOrdinal > 0 && fromOrdinal >= transaction.orders) throw partlyPublishedDiffers(commitLsn);
    const chunks = chunksOf(transaction, hash);
    for (let chunk = chunks.next(); chunk.done !== true; ) {
      const startedAt = performance.now();
      await transact(async (_, sendAll) => {
        for (;;) {
          const { records, ordersHash } = chunk.value!;
          const last = records.at(-1)!;
          const { orderId, ordinal } = last;
          chunk = chunks.next();
          const isLast = chunk.done === true;
          const isTimeUp = performance.now() - startedAt > config.transactionTimeoutMs / 2;
          if (!isLast && !isTimeUp) {
            await sendAll(records);
            await failpoint('reader.mid-transaction');
            continue;
          }
          const next = nextCheckpoint({
            lastPublished: { commitLsn, ordinal, orderId, ordersHash },
            throughLsn: isLast ? throughLsn : checkpoint.throughLsn,
            partial: isLast ? null : { commitLsn, ordinal },
          });
          await sendAll([...records, checkpointTopic.record(formatCheckpoint(next))]);
          return next;
        }
      });
      await failpoint('reader.after-partial');
    }
  };

  function* chunksOf(
    transaction: PreparedTransaction,
    hash: ReturnType<typeof hashOrderIds>,
  ): Generator<{ records: EventRecord[]; ordersHash: string }> {
    let records: EventRecord[] = [];
    let bytes = 0;
    for (const event of transaction.events()) {
      addOrderId(hash, event.orderId);
      if (event.ordinal < transaction.fromOrdinal) {
        if (event.ordinal === transaction.fromOrdinal - 1)
          verifyPartial(transaction.commitLsn, hash.copy().digest('hex'));
        continue;
      }
      const record = eventRecord(config.ordersTopic, checkpoint.partitions, event);
      records.push(record);
      bytes += recordBytes(record);
      if (records.length < config.groupMaxOrders && bytes < config.groupMaxBytes) continue;
      yield { records, ordersHash: hash.copy().digest('hex') };
      records = [];
      bytes = 0;
    }
    if (records.length > 0) yield { records, ordersHash: hash.copy().digest('hex') };
  }

  const verifyPartial = (commitLsn: Lsn, ordersHash: string): void => {
    if (checkpoint.lastPublished?.ordersHash !== ordersHash) throw partlyPublishedDiffers(commitLsn);
  };

  const partlyPublishedDiffers = (commitLsn: Lsn): ContentsDifferError =>
    new ContentsDifferError('the partly published transaction is another one', commitLsn, checkpoint.throughLsn);

  const publishProgress = async (throughLsn: Lsn): Promise<void> => {
    const { partial } = checkpoint;
    if (partial !== null && throughLsn > partial.commitLsn) throw partlyPublishedDiffers(partial.commitLsn);
    // What is partly published stays so: forgotten, its first orders would be published again when it comes (I4).
    const next = nextCheckpoint({ throughLsn });
    return transact(async (_, sendAll) => {
      await sendAll([checkpointTopic.record(formatCheckpoint(next))]);
      return next;
    });
  };

  return {
    get checkpoint() {
      return checkpoint;
    },
    async publishGroup(group) {
      const startedAt = performance.now();
      const first = group.transactions[0]!;
      const { partial } = checkpoint;
      if (partial !== null && partial.commitLsn !== first.commitLsn) throw partlyPublishedDiffers(partial.commitLsn);
      if (first.records === undefined) await publishHuge(first, group.throughLsn);
      else await publishEncoded(group).catch((error) => isolate(error, group));
      metrics.publishedGroup(group, (performance.now() - startedAt) / 1000);
      logger.debug(
        {
          event: READER_PUBLISHED,
          orders: group.orders,
          transactions: group.transactions.length,
          throughLsn: formatLsn(checkpoint.throughLsn),
        },
        'Kafka has committed a group of transactions.',
      );
    },
    publishProgress,
  };
}
