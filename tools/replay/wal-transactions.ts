// Committed transactions out of the retained WAL: a stream over a temporary copy of the window slot, read by the reader's
// own parts, so that what comes is what the reader saw. Guarantees: every transaction with orders whose commitLsn lies in
// the range, whole and in commit order, then the end, on an idle database too; bounded memory, since the socket is paused
// while two batches wait; nothing is ever confirmed, and neither the live slot nor the window slot is touched. The copy
// goes with its connection. It holds WAL back for as long as it is read, beyond the window's own limit.
import { randomBytes } from 'node:crypto';
import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import type { Logger } from '#service/logger.ts';
import {
  type CommittedTransaction,
  createTransactionAssembler,
} from '../../cdc-reader/pipeline/assemble-transaction.ts';
import type { CapturedOids } from '../../cdc-reader/pipeline/order-event.ts';
import { createReplicationStream, type ReplicationStream } from '../../cdc-reader/postgres/replication-stream.ts';
import { createSourceSession } from '../../cdc-reader/postgres/source-session.ts';
import type { SourceIdentity } from '../../cdc-reader/postgres/walsender.ts';

export interface WalOptions {
  readonly databaseUrl: string;
  readonly applicationName: string;
  readonly publicationName: string;
  readonly windowSlotName: string;
  readonly walSenderTimeoutMs: number;
  /** The tables that the checkpoint recorded; a row that only looks like one of theirs ends the read. */
  readonly captured: CapturedOids;
  readonly spillBytes: number;
  readonly spillDirectory: string;
  readonly logger: Logger;
}

export interface WalBatch {
  /** Closed when the next batch is asked for. */
  readonly transactions: readonly CommittedTransaction[];
  readonly identity: SourceIdentity;
}

/** The window has moved on, or never reached so far: the range can't be had from the WAL. */
export class WalRangeGoneError extends Error {
  readonly code = 'WAL_RANGE_GONE';
}

/** A batch is handed over when it is asked for; the socket is paused while this much waits behind it. */
const MOST_WAITING_ORDERS = 4_000;
const MOST_WAITING_BYTES = 2 * 1024 * 1024;

/** @throws RowRefusedError, WalRangeGoneError, SlotMissingError, SlotLostError, `signal`'s reason, or what Postgres said */
export async function* readWalTransactions(
  options: WalOptions,
  { fromLsn, toLsn }: LsnRange,
  signal: AbortSignal,
): AsyncGenerator<WalBatch, void, undefined> {
  signal.throwIfAborted();
  if (fromLsn >= toLsn) return;
  const slotName = `tillstream_replay_${randomBytes(4).toString('hex')}`;
  const assembler = createTransactionAssembler({ ...options, onIgnored: () => undefined }); // the reader has counted them
  let waiting: CommittedTransaction[] = [];
  let handedOver: CommittedTransaction[] = [];
  let waitingOrders = 0;
  let waitingBytes = 0;
  let isAtEnd = false;
  let failure: Error | undefined;
  let wake = Promise.withResolvers<void>();

  const reached = (lsn: Lsn): void => {
    if (lsn < toLsn) return;
    isAtEnd = true;
    stream.pause();
    wake.resolve();
  };
  const onTransaction = (transaction: CommittedTransaction): void => {
    const { commitLsn, endLsn, orderCount, rowBytes } = transaction;
    if (orderCount === 0 || commitLsn < fromLsn || commitLsn >= toLsn) {
      transaction.close();
    } else {
      waiting.push(transaction);
      waitingOrders += orderCount;
      waitingBytes += rowBytes;
      wake.resolve();
      if (waitingOrders >= MOST_WAITING_ORDERS || waitingBytes >= MOST_WAITING_BYTES) stream.pause();
    }
    reached(endLsn); // whatever commits next does so at or behind the end of this commit
  };

  const stream: ReplicationStream = await createReplicationStream({
    ...options,
    slotName,
    copyOf: options.windowSlotName,
    handlers: {
      onMessage(message) {
        const transaction = assembler.accept(message);
        if (transaction !== undefined) onTransaction(transaction);
      },
      // Everything before walEnd has been handed over, so no commit below `toLsn` can follow.
      onKeepalive({ walEnd }) {
        if (!assembler.isInTransaction) reached(walEnd);
      },
      onFailure(error) {
        failure = error;
        wake.resolve();
      },
    },
  });
  const onAbort = (): void => wake.resolve();
  signal.addEventListener('abort', onAbort);
  try {
    await requireRange(options, slotName, stream.identity, { fromLsn, toLsn });
    for (;;) {
      signal.throwIfAborted();
      for (const transaction of handedOver.splice(0)) transaction.close();
      [handedOver, waiting] = [waiting, handedOver];
      waitingOrders = 0;
      waitingBytes = 0;
      wake = Promise.withResolvers();
      if (!isAtEnd) stream.resume();
      if (handedOver.length > 0) yield { transactions: handedOver, identity: stream.identity };
      else if (isAtEnd) return;
      else if (failure !== undefined) throw failure;
      else await wake.promise;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    await stream.close();
    for (const transaction of [...handedOver, ...waiting]) transaction.close();
    assembler.close();
  }
}

/** The window may have moved on since the range was planned; from here on the copy keeps it. */
async function requireRange(
  options: WalOptions,
  slotName: string,
  { flushLsn }: SourceIdentity,
  { fromLsn, toLsn }: LsnRange,
): Promise<void> {
  const session = await createSourceSession({ ...options, onEnd: () => undefined });
  try {
    const oldestLsn = (await session.readSlot(slotName))?.confirmedFlushLsn ?? null;
    if (oldestLsn === null || oldestLsn > fromLsn) {
      throw new WalRangeGoneError(
        `The window of WAL begins at ${oldestLsn === null ? 'no position' : formatLsn(oldestLsn)} by now, behind ` +
          `${formatLsn(fromLsn)}; it is bounded by REPLAY_WINDOW_BYTES and REPLAY_WINDOW_MS of the reader.`,
      );
    }
    if (toLsn > flushLsn) {
      throw new WalRangeGoneError(
        `This server's WAL ends at ${formatLsn(flushLsn)}, before ${formatLsn(toLsn)}: was it restored from a backup?`,
      );
    }
  } finally {
    await session.close();
  }
}
