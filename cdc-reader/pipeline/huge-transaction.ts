// Publishes one database transaction above the bounds of a group: several sends of one Kafka transaction, and, where half
// of Kafka's transaction timeout is reached, a commit with a partial checkpoint (I5's one documented exception: otherwise
// the broker would abort everything, again and again). Guarantees: what was partly published is completed by the rest of
// that very transaction, proven by the hash of its order ids, or halts (I11).
import { recordBytes } from '#kafka/protocol/record.ts';
import { addOrderId, hashOrderIds } from '#schemas/checkpoint.ts';
import type { Lsn } from '#schemas/lsn.ts';
import { failpoint } from '#service/failpoint.ts';
import type { CdcReaderConfig } from '../config.ts';
import type { EventRecord } from '../encode/encode-event.ts';
import { ContentsDifferError } from '../errors.ts';
import type { CheckpointedTransactions } from './kafka-transaction.ts';
import type { HugeTransaction } from './queue.ts';

/** What goes out in one send; `ordersHash`: of all order ids of the transaction up to its end. */
interface Chunk {
  readonly records: readonly EventRecord[];
  readonly ordersHash: string;
}

export async function publishHuge(
  transactions: CheckpointedTransactions,
  huge: HugeTransaction,
  throughLsn: Lsn,
  config: CdcReaderConfig,
): Promise<void> {
  const { commitLsn } = huge;
  // A partial checkpoint always leaves something to publish.
  if (huge.fromOrdinal > 0 && huge.fromOrdinal >= huge.orders) throw partlyPublishedDiffers(transactions, commitLsn);
  const chunks = chunksOf(transactions, huge, config);
  for (let chunk = chunks.next(); chunk.done !== true; ) {
    const startedAtMs = performance.now();
    await transactions.run(async ({ send, sendLast }) => {
      for (;;) {
        const { records, ordersHash } = chunk.value!;
        const { orderId, ordinal } = records.at(-1)!;
        chunk = chunks.next();
        const isLast = chunk.done === true;
        const isTimeUp = performance.now() - startedAtMs > config.transactionTimeoutMs / 2;
        if (isLast || isTimeUp) {
          return sendLast(records, {
            lastPublished: { commitLsn, ordinal, orderId, ordersHash },
            throughLsn: isLast ? throughLsn : transactions.checkpoint.throughLsn,
            partial: isLast ? null : { commitLsn, ordinal },
          });
        }
        await send(records);
        await failpoint('reader.mid-transaction');
      }
    });
    await failpoint('reader.after-partial');
  }
}

function* chunksOf(
  { checkpoint }: CheckpointedTransactions,
  huge: HugeTransaction,
  config: CdcReaderConfig,
): Generator<Chunk> {
  const hash = hashOrderIds();
  const ordersHash = () => hash.copy().digest('hex');
  let records: EventRecord[] = [];
  let bytes = 0;
  for (const record of huge.events()) {
    addOrderId(hash, record.orderId);
    if (record.ordinal < huge.fromOrdinal) {
      const isEnd = record.ordinal === huge.fromOrdinal - 1;
      if (isEnd && checkpoint.lastPublished?.ordersHash !== ordersHash()) {
        throw partlyPublishedDiffers({ checkpoint }, huge.commitLsn);
      }
      continue;
    }
    records.push(record);
    bytes += recordBytes(record);
    if (records.length < config.groupMaxOrders && bytes < config.groupMaxBytes) continue;
    yield { records, ordersHash: ordersHash() };
    records = [];
    bytes = 0;
  }
  if (records.length > 0) yield { records, ordersHash: ordersHash() };
}

/** The halt where something else follows a partial checkpoint than the rest of its transaction. */
export function partlyPublishedDiffers(
  { checkpoint }: Pick<CheckpointedTransactions, 'checkpoint'>,
  commitLsn: Lsn,
): ContentsDifferError {
  return new ContentsDifferError('the partly published transaction is another one', commitLsn, checkpoint.throughLsn);
}
