/**
 * The path of a record through the sink: fetch → parse → apply → commit, for one fetch of one owned partition.
 *
 * Guarantees: records are applied in the sequence of the partition, none before its fetch was found to continue the
 * last one (I11); kafkajs is told an offset only after the carts database has committed it (I6). Leaves to
 * owned-partition.ts: the state of the partition; to apply/: the transaction and its retries.
 */
import type { FetchedBatch } from '#kafka/reading/group-consumer.ts';
import { EMPTY_TALLY } from '#schemas/replay/records.ts';
import type { OwnedPartition } from './owned-partition.ts';
import { cutChunk, parseChunk, tallyOrders } from './parse-records.ts';

/** `passed` receives every offset up to which the carts database has committed. Throws what must end the partition. */
export async function consumeFetch(
  partition: OwnedPartition,
  fetched: FetchedBatch,
  passed: (lastOffset: bigint) => void,
  signal: AbortSignal,
): Promise<void> {
  const { records, lastOffset } = fetched;

  // Fetch: does it continue what the carts database holds? A repeated fetch is skipped, a gap halts.
  const check = await partition.checkContinuity(fetched);
  if (check === 'fenced') return;
  if (check === 'repeated') return passed(partition.position() - 1n);

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
      ? { entries: [], replay: null, tally: EMPTY_TALLY }
      : { entries: chunk.entries, replay: chunk.replay, tally: tallyOrders(chunk) };
    const end = consumed + chunk.records.length;
    const nextOffset = (end === records.length ? lastOffset : chunk.records.at(-1)!.offset) + 1n;

    // Apply and commit: one transaction moves the offset and changes the carts, unless another sink owns the partition.
    const batch = partition.createBatch(nextOffset, content);
    const result = await partition.apply(batch, signal);
    if (result.kind === 'too-large') {
      partition.halveBatches(chunk.records.length);
      continue;
    }
    if (result.kind === 'stale-owner') return partition.endAsFenced();
    // Interrupted: if the database did commit after all, the next batch finds no row and ends as fenced.
    if (result.kind === 'interrupted') return;
    partition.advance(batch, result, chunk.records[0]);
    consumed = end;
    passed(nextOffset - 1n);
  }
  // What follows can't be read: the partition halts, with everything before it applied.
  if (fetched.unreadable !== undefined && partition.isOpen() && partition.position() > lastOffset) {
    throw fetched.unreadable;
  }
}
