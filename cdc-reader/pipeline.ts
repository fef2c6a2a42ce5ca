// The data path, top to bottom: messages → database transactions → events → groups → one Kafka transaction each, with
// the checkpoint that covers it → acknowledgement to Postgres. Guarantees: whole transactions in commit order (I4, I5),
// nothing acknowledged before Kafka has it (I7), every change published, counted or a halt. One Kafka transaction is
// in flight; what arrives meanwhile makes the next group; when two wait, the socket is paused. Any failure ends it.
import { setTimeout as delay } from 'node:timers/promises';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import { createAcknowledger } from './acknowledge.ts';
import { type CommittedTransaction, createTransactionAssembler } from './assemble-transaction.ts';
import { publishFrom } from './checkpoint.ts';
import type { CdcReaderConfig } from './config.ts';
import { DropVerifier } from './continuity.ts';
import { createGroupCommit } from './group-commit.ts';
import type { Lifeline } from './lifeline.ts';
import type { ReaderMetrics } from './metrics.ts';
import { timelineOf } from './postgres/timeline.ts';
import { createPublisher, type PreparedTransaction, prepareTransaction } from './publish.ts';
import type { ReaderSession } from './start-up.ts';

/**
 * Runs the data path of one start until `lifeline` fails (then it rejects with that failure) or `stop` is aborted
 * (then it resolves when what was in flight is published and acknowledged).
 */
export async function runPipeline(options: {
  config: CdcReaderConfig;
  session: ReaderSession;
  lifeline: Lifeline;
  stop: AbortSignal;
  metrics: ReaderMetrics;
  logger: Logger;
}): Promise<void> {
  const { config, session, lifeline, stop, metrics, logger } = options;
  const { stream, source } = session;

  const verifier = new DropVerifier(session.checkpoint);
  const assembler = createTransactionAssembler({
    spillBytes: config.spillBytes,
    spillDirectory: config.spillDirectory,
    onIgnored: (reason) => metrics.ignoredChanges.inc({ reason }),
  });
  const groups = createGroupCommit<PreparedTransaction>({
    maxOrders: config.groupMaxOrders,
    maxBytes: config.groupMaxBytes,
  });
  const publisher = createPublisher({ config, session, metrics, logger });
  const acknowledger = createAcknowledger({
    readFingerprint: async () => (await source.readPublication(config.publicationName))?.fingerprint ?? null,
    publicationName: config.publicationName,
    expectedFingerprint: session.checkpoint.publicationFingerprint,
    acknowledge: (throughLsn) => stream.acknowledge(throughLsn),
    onFailure: lifeline.fail,
  });

  /** How far the stream has come while nothing waits to be published. */
  let idleLsn = LSN_ZERO;
  let isAnswerWanted = false;
  let isPublishing = false;
  let wake = Promise.withResolvers<void>();

  const onTransaction = (transaction: CommittedTransaction): void => {
    const from = publishFrom(publisher.checkpoint, transaction.commitLsn);
    if (from.kind === 'drop') {
      if (transaction.orderCount > 0) verifier.dropped(transaction.commitLsn, () => orderIds(transaction));
      metrics.droppedTransactions.inc();
      transaction.close();
      return;
    }
    verifier.passed();
    if (transaction.orderCount === 0) {
      groups.advance(transaction.endLsn);
      if (isIdle()) idleLsn = maxLsn(idleLsn, transaction.endLsn);
      return;
    }
    groups.add(
      prepareTransaction(transaction, eventsOf(transaction), from.ordinal, config, publisher.checkpoint.partitions),
    );
    metrics.waitingBytes.set(groups.bytes);
    if (groups.isFull) stream.pause();
    wake.resolve();
  };

  const orderIds = function* (transaction: CommittedTransaction): Generator<string> {
    for (const event of eventsOf(transaction)()) yield event.orderId;
  };

  const eventsOf = (transaction: CommittedTransaction) => (): Iterable<OrderPlaced> =>
    transaction.events({
      generation: publisher.checkpoint.generation,
      timeline: timelineOf(transaction.commitLsn, stream.identity.timeline, stream.identity.history),
    });

  const isIdle = (): boolean => groups.isEmpty && !isPublishing && !assembler.isInTransaction;

  session.relay.attach({
    onMessage(message) {
      const transaction = assembler.accept(message);
      if (transaction !== undefined) onTransaction(transaction);
    },
    // A walEnd that comes while nothing is in flight has everything before it behind it: it is progress.
    onKeepalive({ walEnd, replyRequested }) {
      metrics.receivedLsn(walEnd);
      if (walEnd >= publisher.checkpoint.throughLsn) verifier.passed();
      if (!isIdle()) return;
      idleLsn = maxLsn(idleLsn, walEnd);
      if (!replyRequested || idleLsn <= publisher.checkpoint.throughLsn) return;
      isAnswerWanted = true;
      wake.resolve();
    },
  });

  const publishWhatWaits = async (): Promise<void> => {
    for (let group = groups.take(); group !== undefined; group = groups.take()) {
      if (!groups.isFull) stream.resume();
      await publisher.publishGroup(group);
      await failpoint('reader.after-publish');
      acknowledger.request(publisher.checkpoint.throughLsn);
    }
    metrics.waitingBytes.set(groups.bytes);
  };

  // Progress without orders goes through the checkpoint too, now and then, or the server could never free its WAL (I7).
  let idleSince = performance.now();
  const recordIdleProgress = async (): Promise<void> => {
    const throughLsn: Lsn = idleLsn;
    if (throughLsn <= publisher.checkpoint.throughLsn) return;
    if (!isAnswerWanted && performance.now() - idleSince < config.idleCheckpointMs) return;
    isAnswerWanted = false;
    idleSince = performance.now();
    await publisher.publishProgress(throughLsn);
    acknowledger.request(throughLsn);
  };

  const publishLoop = async (): Promise<void> => {
    while (!stop.aborted) {
      const timer = new AbortController();
      const idle = delay(config.idleCheckpointMs, undefined, { signal: timer.signal }).catch(ignoreAbort);
      await Promise.race([wake.promise, idle]);
      timer.abort();
      wake = Promise.withResolvers();
      isPublishing = true;
      await publishWhatWaits();
      await recordIdleProgress();
      isPublishing = false;
    }
  };

  const onStop = () => wake.resolve();
  stop.addEventListener('abort', onStop);
  try {
    await failpoint('reader.before-streaming');
    acknowledger.request(publisher.checkpoint.throughLsn);
    stream.resume();
    await lifeline.race(publishLoop());
    await lifeline.race(acknowledger.settled());
  } finally {
    stop.removeEventListener('abort', onStop);
    session.relay.detach();
    stream.pause();
    acknowledger.close();
    for (let group = groups.take(); group !== undefined; group = groups.take()) {
      for (const transaction of group.transactions) transaction.close();
    }
    assembler.close();
  }
}

function ignoreAbort(error: unknown): void {
  if ((error as Error).name !== 'AbortError') throw error;
}
