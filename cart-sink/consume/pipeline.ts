/**
 * The path of a record through the sink: fetch → parse → apply → commit, for one fetch of one owned partition.
 *
 * Guarantees: records are applied in the sequence of the partition, none before its fetch was found to continue the
 * last one (I11). Leaves to owned-partition.ts: the state of the partition; to apply/: the transaction, which partitions
 * share, and its retries.
 */
import type { FetchedBatch } from '#kafka/reading/fetched-batch.ts';
import { EMPTY_TALLY } from '#schemas/replay/records.ts';
import type { OwnedPartition } from './owned-partition.ts';
import { cutChunk, parseChunk, tallyOrders } from './parse-records.ts';

/** Throws what must end the partition. */
export async function consumeFetch(
  partition: OwnedPartition,
  fetched: FetchedBatch,
  signal: AbortSignal,
): Promise<void> {
  const { records, lastOffset } = fetched;

  // Fetch: does it continue what the carts database holds? A gap halts.
  if ((await partition.checkContinuity(fetched)) === 'fenced') return;

  let consumed = 0;
  while (partition.isOpen() && !signal.aborted && partition.position() <= lastOffset) {
    // Cut what fits one transaction. The last chunk also passes the control and aborted records behind it.
    const cut = cutChunk(records, consumed, partition.limits(), partition.topicKind);
    const admission = await partition.admit(cut.replay, signal);
    if (admission === 'stop') return;

    // Parse: orders, and records to be parked. An unknown schema halts, after what precedes it. A cancelled run has no effect.
    const isSkipped = admission === 'skip';
    const chunk = isSkipped ? { ...cut, entries: [] } : parseChunk(cut, fetched);
    const content = isSkipped
      ? { entries: [], replay: null, tally: EMPTY_TALLY, bytes: 0 }
      : { entries: chunk.entries, replay: chunk.replay, tally: tallyOrders(chunk), bytes: cut.bytes };
    const end = consumed + chunk.records.length;
    const nextOffset = (end === records.length ? lastOffset : chunk.records.at(-1)!.offset) + 1n;

    // Apply and commit: one transaction, with batches of other partitions in it, moves the offset and changes the carts,
    // unless another sink owns the partition.
    const batch = partition.createBatch(nextOffset, content);
    const result = await partition.apply(batch, signal);
    if (result.kind === 'too-large') {
      partition.halveBatches(chunk.records.length);
      continue;
    }
    if (result.kind === 'stale-owner') return partition.endAsFenced();
    // Interrupted: if the database did commit after all, the next batch finds no row and ends as fenced.
    if (result.kind === 'interrupted') return;
    partition.advance(batch, result);
    consumed = end;
  }
  // What follows can't be read: the partition halts, with everything before it applied.
  if (fetched.unreadable !== undefined && partition.isOpen() && partition.position() > lastOffset) {
    throw fetched.unreadable;
  }
}
