// Committed transactions from the retained WAL: a stream over a temporary copy of the window slot, read by the reader's own
// parts, so that it delivers what the reader saw. Guarantees: every transaction with orders whose commitLsn is in the range,
// whole and in commit order, then the end, on an idle database too; bounded memory, since the socket is paused while two
// batches are pending; nothing is acknowledged, and neither the live slot nor the window slot is changed. The copy ends with its
// connection. Until then it retains WAL beyond the window's own limit.
import { randomBytes } from 'node:crypto';
import type { requireCaptured } from '#schemas/capture-fingerprint.ts';
import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import {
  type CommittedTransaction,
  createTransactionAssembler,
} from '../../../cdc-reader/pipeline/assemble-transaction.ts';
import { createReplicationStream, type ReplicationStream } from '../../../cdc-reader/postgres/replication-stream.ts';
import type { SourceIdentity } from '../../../cdc-reader/postgres/walsender.ts';
import { type ServerOptions, withSourceSession } from '../../connect.ts';

export interface WalOptions extends ServerOptions {
  readonly publicationName: string;
  readonly windowSlotName: string;
  readonly walSenderTimeoutMs: number;
  /** The tables that the checkpoint recorded; a row of another table under their names ends the read. */
  readonly captured: ReturnType<typeof requireCaptured>;
  readonly spillBytes: number;
  readonly spillDirectory: string;
}

export interface WalBatch {
  /** Closed when the next batch is requested. */
  readonly transactions: readonly CommittedTransaction[];
  readonly identity: SourceIdentity;
}

/** The window has moved past the range, or never covered it. */
class WalRangeGoneError extends Error {
  readonly code = 'WAL_RANGE_GONE';
}

/** The socket is paused while this much is pending. */
const MAX_PENDING_ORDERS = 4_000;
const MAX_PENDING_BYTES = 2 * 1024 * 1024;

/** @throws RowRefusedError, WalRangeGoneError, SlotMissingError, SlotLostError, `signal`'s reason, or what Postgres reports */
export async function* readWalTransactions(
  options: WalOptions,
  { fromLsn, toLsn }: LsnRange,
  signal: AbortSignal,
): AsyncGenerator<WalBatch, void, undefined> {
  signal.throwIfAborted();
  if (fromLsn >= toLsn) return;
  const slotName = `tillstream_replay_${randomBytes(4).toString('hex')}`;
  const assembler = createTransactionAssembler({ ...options, onIgnored: () => undefined }); // the reader has counted them
  let pending: CommittedTransaction[] = [];
  let handedOver: CommittedTransaction[] = [];
  let pendingOrders = 0;
  let pendingBytes = 0;
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
      transaction.hold();
      pending.push(transaction);
      pendingOrders += orderCount;
      pendingBytes += rowBytes;
      wake.resolve();
      if (pendingOrders >= MAX_PENDING_ORDERS || pendingBytes >= MAX_PENDING_BYTES) stream.pause();
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
      [handedOver, pending] = [pending, handedOver];
      pendingOrders = 0;
      pendingBytes = 0;
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
    for (const transaction of [...handedOver, ...pending]) transaction.close();
    assembler.close();
  }
}

/** The window may have moved since the range was planned; from now on the copy retains it. */
async function requireRange(
  options: WalOptions,
  slotName: string,
  { flushLsn }: SourceIdentity,
  { fromLsn, toLsn }: LsnRange,
): Promise<void> {
  const slot = await withSourceSession(options, (session) => session.readSlot(slotName));
  const oldestLsn = slot?.confirmedFlushLsn ?? null;
  if (oldestLsn === null || oldestLsn > fromLsn) {
    throw new WalRangeGoneError(
      `The replay window now begins at ${oldestLsn === null ? 'no position' : formatLsn(oldestLsn)}, after ` +
        `${formatLsn(fromLsn)}; the reader's REPLAY_WINDOW_BYTES and REPLAY_WINDOW_MS bound it.`,
    );
  }
  if (toLsn > flushLsn) {
    throw new WalRangeGoneError(
      `This server's WAL ends at ${formatLsn(flushLsn)}, before ${formatLsn(toLsn)}: was it restored from a backup?`,
    );
  }
}
