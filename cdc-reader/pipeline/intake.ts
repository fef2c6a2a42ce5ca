// From the replication stream to the queue: messages become database transactions; those that were published before are
// dropped and verified, the others prepared (encoded and given their partitions while an earlier group is in flight).
// Guarantees: every change is published, counted, or a halt (I1); nothing is acknowledged before all that lies before the
// checkpoint was seen to be what was published (I11); a full queue pauses the socket. When to publish is publish.ts's.
import { recordBytes } from '#kafka/protocol/record.ts';
import { requireCaptured } from '#schemas/capture-fingerprint.ts';
import { type Checkpoint, publishFrom } from '#schemas/checkpoint.ts';
import { type Lsn, maxLsn } from '#schemas/lsn.ts';
import { timelineOf } from '#schemas/timeline.ts';
import type { CdcReaderConfig } from '../config.ts';
import type { EventRecord } from '../encode/encode-event.ts';
import type { ReaderMetrics } from '../metrics.ts';
import type { PgoutputMessage } from '../postgres/pgoutput.ts';
import { DropVerifier } from '../startup/continuity.ts';
import type { MessageReceiver, ReaderSession } from '../startup/session.ts';
import {
  type CommittedTransaction,
  createTransactionAssembler,
  type EventStamp,
  type TransactionAssembler,
} from './assemble-transaction.ts';
import type { PreparedTransaction, Queue } from './queue.ts';

interface IntakeOptions {
  readonly config: CdcReaderConfig;
  readonly session: Pick<ReaderSession, 'stream' | 'checkpoint'>;
  readonly queue: Queue;
  readonly metrics: ReaderMetrics;
  /** The newest that Kafka has committed. */
  readonly checkpoint: () => Checkpoint;
  /** Transactions up to this commit are published one by one: of a group of them, one was too large. */
  readonly isolateThroughLsn: Lsn;
  /** Called once: what lies before the checkpoint's `throughLsn` has been seen, and is what was published. */
  readonly onVerified: () => void;
  readonly onFailure: (error: Error) => void;
}

export class Intake implements MessageReceiver {
  readonly #options: IntakeOptions;
  readonly #assembler: TransactionAssembler;
  readonly #verifier: DropVerifier;
  #isVerified = false;
  #isClosed = false;

  constructor(options: IntakeOptions) {
    const { config, session, metrics } = options;
    this.#options = options;
    this.#verifier = new DropVerifier(session.checkpoint);
    this.#assembler = createTransactionAssembler({
      spillBytes: config.spillBytes,
      spillDirectory: config.spillDirectory,
      captured: requireCaptured(session.checkpoint.capture),
      onIgnored: (reason) => metrics.ignoredChanges.inc({ reason }),
    });
  }

  onMessage(message: PgoutputMessage): void {
    this.#guard(() => {
      if (this.#options.queue.refusal !== undefined) return;
      const transaction = this.#assembler.accept(message);
      if (transaction === undefined) return;
      try {
        this.#onTransaction(transaction);
      } catch (error) {
        transaction.close();
        this.#options.queue.refuse(error, transaction.xid);
        this.#options.session.stream.pause();
      }
    });
  }

  // A walEnd that comes while nothing is in flight has everything before it behind it: it is progress.
  onKeepalive({ walEnd, replyRequested }: { walEnd: Lsn; replyRequested: boolean }): void {
    const { queue, metrics, checkpoint } = this.#options;
    this.#guard(() => {
      metrics.receivedLsn(walEnd);
      const { throughLsn } = checkpoint();
      if (walEnd >= throughLsn) this.#verified();
      if (!this.#isIdle) return;
      metrics.pending(queue);
      queue.idleLsn = maxLsn(queue.idleLsn, walEnd);
      if (!replyRequested || queue.idleLsn <= throughLsn) return;
      queue.isReplyWanted = true;
      queue.wake();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#assembler.close();
  }

  get #isIdle(): boolean {
    return this.#options.queue.isIdle && !this.#assembler.isInTransaction;
  }

  /** Whatever fails here ends this start with that very error, and takes in nothing more. */
  #guard(handle: () => void): void {
    if (this.#isClosed) return;
    try {
      handle();
    } catch (error) {
      this.#isClosed = true;
      this.#options.onFailure(error as Error);
    }
  }

  #onTransaction(transaction: CommittedTransaction): void {
    const { config, session, queue, metrics, isolateThroughLsn } = this.#options;
    const { commitLsn, endLsn, orderCount } = transaction;
    const checkpoint = this.#options.checkpoint();
    const from = publishFrom(checkpoint, commitLsn);
    if (from.kind === 'drop') {
      if (orderCount > 0) this.#verifier.dropped(commitLsn, () => transaction.orderIds());
      metrics.droppedTransactions.inc();
      transaction.close();
      return;
    }
    this.#verified();
    if (orderCount === 0) {
      queue.advance(endLsn);
      if (this.#isIdle) queue.idleLsn = maxLsn(queue.idleLsn, endLsn);
      return;
    }
    metrics.readOrders.inc(orderCount);
    const { timeline, history } = session.stream.identity;
    const { generation, partitions } = checkpoint;
    const stamp = {
      topic: config.ordersTopic,
      partitions,
      generation,
      timeline: timelineOf(commitLsn, timeline, history),
    };
    queue.add(prepareTransaction(transaction, stamp, from.ordinal, config, commitLsn <= isolateThroughLsn));
    if (!queue.isFull) return;
    session.stream.pause();
    metrics.pending(queue);
  }

  /**
   * Not sooner may an LSN be acknowledged: for a restored copy of the files Postgres would forget what it holds there
   * instead of what was published, and the next start could not see it (I11).
   */
  #verified(): void {
    if (this.#isVerified) return;
    this.#verifier.passed();
    this.#isVerified = true;
    this.#options.onVerified();
  }
}

/** @param fromOrdinal below it, events were published with an earlier, partial checkpoint. */
export function prepareTransaction(
  transaction: CommittedTransaction,
  stamp: EventStamp,
  fromOrdinal: number,
  config: Pick<CdcReaderConfig, 'groupMaxOrders' | 'groupMaxBytes'>,
  isAlone = false,
): PreparedTransaction {
  const { commitLsn, endLsn, committedAt, orderCount: orders, rowBytes } = transaction;
  const common = { commitLsn, endLsn, committedAt, orders };
  if (orders > config.groupMaxOrders || rowBytes > config.groupMaxBytes || fromOrdinal > 0) {
    const read = () => transaction.events(stamp);
    const huge = { commitLsn, orders, fromOrdinal, events: read, close: () => transaction.close() };
    return { ...common, bytes: rowBytes, isAlone: true, events: [], huge };
  }
  const events: EventRecord[] = [];
  let bytes = 0;
  for (const record of transaction.events(stamp)) {
    events.push(record);
    bytes += recordBytes(record);
  }
  transaction.close();
  return { ...common, bytes, isAlone, events, huge: undefined };
}
