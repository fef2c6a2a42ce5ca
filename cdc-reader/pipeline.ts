// The data path, top to bottom: messages → database transactions → events → groups → one Kafka transaction each, with
// the checkpoint that covers it → acknowledgement to Postgres. Guarantees: whole transactions in commit order (I4, I5),
// nothing acknowledged before Kafka has it (I7), every change published, counted or a halt. One Kafka transaction is
// in flight; what arrives meanwhile makes the next group; when two wait, the socket is paused. Any failure ends it. A
// stop takes in nothing more, and publishes what it has, within a limit: the next start publishes the rest.
import { setTimeout as delay } from 'node:timers/promises';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import { createAcknowledger } from './acknowledge.ts';
import { type CommittedTransaction, createTransactionAssembler } from './assemble-transaction.ts';
import { type Checkpoint, publishFrom } from './checkpoint.ts';
import type { CdcReaderConfig } from './config.ts';
import { DropVerifier } from './continuity.ts';
import { createGroupCommit, type Group } from './group-commit.ts';
import type { Lifeline } from './lifeline.ts';
import { READER_DRAIN_ABANDONED, type ReaderMetrics } from './metrics.ts';
import { timelineOf } from './postgres/timeline.ts';
import { type PreparedTransaction, prepareTransaction } from './prepare-transaction.ts';
import { createPublicationLook } from './publication-look.ts';
import { createPublisher } from './publish.ts';
import { DrainAbandonedError } from './restart-errors.ts';
import type { ReaderSession } from './start-up.ts';

/** Of the 9.5 s that a stop may take; the rest is for letting go of slot and producer. */
const DRAIN_LIMIT_MS = 5_000;

/**
 * Runs the data path of one start until `lifeline` fails (then it rejects with that failure) or `stop` is aborted
 * (then it resolves when what was in flight is published and acknowledged, or fails `lifeline` after `drainLimitMs`).
 */
export async function runPipeline(options: {
  config: CdcReaderConfig;
  session: ReaderSession;
  lifeline: Lifeline;
  stop: AbortSignal;
  metrics: ReaderMetrics;
  logger: Logger;
  /** Told of each checkpoint once Kafka has committed it. */
  onPublished?: (checkpoint: Checkpoint) => void;
  drainLimitMs?: number;
}): Promise<void> {
  const { config, session, lifeline, stop, metrics, logger, onPublished, drainLimitMs = DRAIN_LIMIT_MS } = options;
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
  const lookAtPublication = createPublicationLook({
    readFingerprint: () => source.readPublicationFingerprint(config.publicationName),
    readFlushLsn: async () => (await source.readCurrentWal()).flushLsn,
    publicationName: config.publicationName,
    expectedFingerprint: session.checkpoint.publicationFingerprint,
  });
  const tellPublished = onPublished === undefined ? {} : { onPublished };
  const publisher = createPublisher({ config, session, metrics, logger, lookAtPublication, ...tellPublished });
  const acknowledger = createAcknowledger({
    lookAtPublication,
    acknowledge: (throughLsn) => stream.acknowledge(throughLsn),
    onFailure: lifeline.fail,
  });

  /** How far the stream has come while nothing waits to be published. */
  let idleLsn = LSN_ZERO;
  let isAnswerWanted = false;
  let isPublishing = false;
  let inFlight: Group<PreparedTransaction> | undefined;
  let wake = Promise.withResolvers<void>();
  let hasPassed = false;

  /**
   * What lies before `throughLsn` has been seen, and is what was published. Not sooner may the server hear of it: a
   * restored copy of the files would forget what it holds there instead, and the next start could not see it (I11).
   */
  const passed = (): void => {
    if (hasPassed) return;
    verifier.passed();
    hasPassed = true;
    acknowledger.request(publisher.checkpoint.throughLsn);
  };

  const onTransaction = (transaction: CommittedTransaction): void => {
    const from = publishFrom(publisher.checkpoint, transaction.commitLsn);
    if (from.kind === 'drop') {
      if (transaction.orderCount > 0) verifier.dropped(transaction.commitLsn, () => orderIds(transaction));
      metrics.droppedTransactions.inc();
      transaction.close();
      return;
    }
    passed();
    if (transaction.orderCount === 0) {
      groups.advance(transaction.endLsn);
      if (isIdle()) idleLsn = maxLsn(idleLsn, transaction.endLsn);
      return;
    }
    groups.add(
      prepareTransaction(transaction, eventsOf(transaction), from.ordinal, config, publisher.checkpoint.partitions),
    );
    wake.resolve();
    if (!groups.isFull) return;
    stream.pause();
    countWaiting();
  };

  const countWaiting = (): void => {
    const oldest = inFlight?.transactions[0] ?? groups.oldest;
    metrics.waiting((inFlight?.bytes ?? 0) + groups.bytes, oldest?.committedAt);
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
      if (transaction === undefined) return;
      try {
        onTransaction(transaction);
      } catch (error) {
        transaction.close();
        throw error;
      }
    },
    // A walEnd that comes while nothing is in flight has everything before it behind it: it is progress.
    onKeepalive({ walEnd, replyRequested }) {
      metrics.receivedLsn(walEnd);
      if (walEnd >= publisher.checkpoint.throughLsn) passed();
      if (!isIdle()) return;
      countWaiting();
      idleLsn = maxLsn(idleLsn, walEnd);
      if (!replyRequested || idleLsn <= publisher.checkpoint.throughLsn) return;
      isAnswerWanted = true;
      wake.resolve();
    },
  });

  const isOver = (): boolean => stop.aborted || lifeline.signal.aborted;

  const publishWhatWaits = async (): Promise<void> => {
    for (inFlight = groups.take(); inFlight !== undefined; inFlight = groups.take()) {
      countWaiting();
      if (!groups.isFull && !isOver()) stream.resume();
      try {
        await publisher.publishGroup(inFlight);
      } finally {
        for (const transaction of inFlight.transactions) transaction.close();
      }
      await failpoint('reader.after-publish');
      acknowledger.request(publisher.checkpoint.throughLsn);
    }
    countWaiting();
  };

  // Progress without orders goes through the checkpoint too, now and then, or the server could never free its WAL (I7).
  let idleSince = performance.now();
  const recordIdleProgress = async (): Promise<void> => {
    const throughLsn: Lsn = idleLsn;
    const isDue = isAnswerWanted || performance.now() - idleSince >= config.idleCheckpointMs;
    isAnswerWanted = false;
    if (!isDue || throughLsn <= publisher.checkpoint.throughLsn) return;
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
      if (lifeline.signal.aborted) return; // nobody waits for this any more, and nobody else would end it
      wake = Promise.withResolvers();
      isPublishing = true;
      await publishWhatWaits();
      await recordIdleProgress();
      isPublishing = false;
    }
  };

  const abandonDrain = (): void => {
    const error = new DrainAbandonedError(drainLimitMs);
    logger.warn({ event: READER_DRAIN_ABANDONED }, error.message);
    lifeline.fail(error);
  };
  let drainLimit: NodeJS.Timeout | undefined;
  const onStop = (): void => {
    stream.pause(); // under load there is always more to take in
    drainLimit = setTimeout(abandonDrain, drainLimitMs);
    wake.resolve();
  };
  const onFailure = (): void => wake.resolve();
  stop.addEventListener('abort', onStop);
  lifeline.signal.addEventListener('abort', onFailure);
  if (stop.aborted) onStop();
  metrics.continued(publisher.checkpoint);
  try {
    await failpoint('reader.before-streaming');
    if (!isOver()) stream.resume();
    await lifeline.race(publishLoop());
    await lifeline.race(acknowledger.settled());
  } finally {
    stop.removeEventListener('abort', onStop);
    clearTimeout(drainLimit);
    session.relay.detach();
    stream.pause();
    acknowledger.close();
    for (let group = groups.take(); group !== undefined; group = groups.take()) {
      for (const transaction of group.transactions) transaction.close();
    }
    assembler.close();
    metrics.inFlightDropped();
  }
}

function ignoreAbort(error: unknown): void {
  if ((error as Error).name !== 'AbortError') throw error;
}
