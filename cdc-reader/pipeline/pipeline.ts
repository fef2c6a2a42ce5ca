// The data path, top to bottom: messages → database transactions → events → groups → one Kafka transaction each, with
// the checkpoint that covers it → acknowledgement to Postgres. Guarantees: whole transactions in commit order (I4, I5),
// nothing acknowledged before Kafka has it (I7), every change published, counted or a halt. One Kafka transaction is
// in flight; what arrives meanwhile makes the next group; when two wait, the socket is paused. Any failure ends it; a
// transaction that can't be published ends it once the whole transactions before it are. A stop takes in nothing more,
// and publishes what it has, within a limit: the next start publishes the rest.
import { setTimeout as delay } from 'node:timers/promises';
import { requireOids } from '#schemas/capture-fingerprint.ts';
import { type Checkpoint, publishFrom } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { timelineOf } from '#schemas/timeline.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import type { ReaderMetrics } from '../metrics.ts';
import { DropVerifier } from '../startup/continuity.ts';
import type { ReaderSession } from '../startup/start-up.ts';
import { DRAIN_LIMIT_MS, limitDrain } from '../supervise/drain-limit.ts';
import type { Lifeline } from '../supervise/lifeline.ts';
import { createAcknowledger } from './acknowledge.ts';
import { type CommittedTransaction, createTransactionAssembler } from './assemble-transaction.ts';
import { createCaptureCheck } from './capture-check.ts';
import { createGroupCommit, type Group } from './group-commit.ts';
import { type PreparedTransaction, prepareTransaction } from './prepare-transaction.ts';
import { createPublisher } from './publish.ts';
import { UnpublishableError } from './unpublishable-errors.ts';

/** While nothing comes, the tables are checked this often: rows of a swapped-in table would not come either. */
const IDLE_CHECK_MS = 1_000;

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
  /** Transactions up to this commit are published one by one: of a group of them, one was too large. */
  isolateThroughLsn?: Lsn;
}): Promise<void> {
  const { config, session, lifeline, stop, metrics, logger, onPublished, drainLimitMs = DRAIN_LIMIT_MS } = options;
  const { isolateThroughLsn = LSN_ZERO } = options;
  const { stream, source } = session;

  const verifier = new DropVerifier(session.checkpoint);
  const assembler = createTransactionAssembler({
    spillBytes: config.spillBytes,
    spillDirectory: config.spillDirectory,
    captured: requireOids(session.checkpoint.capture),
    onIgnored: (reason) => metrics.ignoredChanges.inc({ reason }),
  });
  const groups = createGroupCommit<PreparedTransaction>({
    maxOrders: config.groupMaxOrders,
    maxBytes: config.groupMaxBytes,
  });
  const captureCheck = createCaptureCheck({ source, config, expected: session.checkpoint.capture, logger });
  const tellPublished = onPublished === undefined ? {} : { onPublished };
  const publisher = createPublisher({ config, session, metrics, logger, captureCheck, ...tellPublished });
  const acknowledger = createAcknowledger({
    captureCheck,
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
  /** Why nothing behind what waits can be published; nothing more is taken in then. */
  let refusal: UnpublishableError | undefined;

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
    const isAlone = transaction.commitLsn <= isolateThroughLsn;
    const { partitions } = publisher.checkpoint;
    groups.add(prepareTransaction(transaction, eventsOf(transaction), from.ordinal, config, partitions, isAlone));
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

  const isIdle = (): boolean => groups.isEmpty && !isPublishing && !assembler.isInTransaction && refusal === undefined;

  const refuse = (error: unknown): void => {
    if (!(error instanceof UnpublishableError)) throw error;
    refusal = error;
    stream.pause();
    wake.resolve();
  };

  session.relay.attach({
    onMessage(message) {
      if (refusal !== undefined) return;
      const transaction = assembler.accept(message);
      if (transaction === undefined) return;
      try {
        onTransaction(transaction);
      } catch (error) {
        transaction.close();
        refuse(error);
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

  const discardWaiting = (): void => {
    for (let group = groups.take(); group !== undefined; group = groups.take()) {
      for (const transaction of group.transactions) transaction.close();
    }
  };

  const isOver = (): boolean => stop.aborted || lifeline.signal.aborted;

  const publishWhatWaits = async (): Promise<void> => {
    for (inFlight = groups.take(); inFlight !== undefined; inFlight = groups.take()) {
      countWaiting();
      if (!groups.isFull && !isOver() && refusal === undefined) stream.resume();
      try {
        await publisher.publishGroup(inFlight);
      } catch (error) {
        refuse(error);
        discardWaiting(); // it lies behind what can't be published
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

  /** What precedes the refused transaction is published and acknowledged; a change of the tables is the better reason. */
  const haltFor = async (error: UnpublishableError): Promise<never> => {
    await captureCheck.run(publisher.checkpoint.throughLsn);
    await acknowledger.settled();
    throw error;
  };

  const publishLoop = async (): Promise<void> => {
    while (!stop.aborted) {
      const timer = new AbortController();
      const waitMs = Math.min(IDLE_CHECK_MS, config.idleCheckpointMs);
      const idle = delay(waitMs, 'idle', { signal: timer.signal }).catch(() => undefined); // aborted below
      const reason = await Promise.race([wake.promise, idle]);
      timer.abort();
      if (lifeline.signal.aborted) return; // nobody waits for this any more, and nobody else would end it
      wake = Promise.withResolvers();
      if (reason === 'idle') await captureCheck.run(publisher.checkpoint.throughLsn);
      isPublishing = true;
      await publishWhatWaits();
      if (refusal !== undefined) await haltFor(refusal);
      await recordIdleProgress();
      isPublishing = false;
    }
  };

  const onStop = (): void => {
    stream.pause(); // under load there is always more to take in
    wake.resolve();
  };
  const drain = limitDrain({ stop, lifeline, logger, limitMs: drainLimitMs, onStop });
  lifeline.signal.addEventListener('abort', () => wake.resolve());
  metrics.continued(publisher.checkpoint);
  try {
    await failpoint('reader.before-streaming');
    if (!isOver()) stream.resume();
    await lifeline.race(publishLoop());
    await lifeline.race(acknowledger.settled());
  } finally {
    drain.end();
    session.relay.detach();
    stream.pause();
    acknowledger.close();
    discardWaiting();
    assembler.close();
    metrics.inFlightDropped();
  }
}
