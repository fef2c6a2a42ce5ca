// One partition of a Fetch response as records. Guarantees: what is not for the caller (control and aborted records, gaps that
// compaction left) is passed over and counted in the offsets; a batch that can't be read ends the records and is handed on, so
// that the other partitions go on; decoding ends when the response has used up its memory. Pure; fetching is left to fetcher.ts.
import { BatchTooLargeError, BatchUnreadableError } from '#kafka/protocol/batch-errors.ts';
import type { FetchedPartition } from '#kafka/protocol/fetch-response.ts';
import type { LogRecord } from '#kafka/protocol/record.ts';
import { readBatches } from '#kafka/protocol/record-batch.ts';
import type { HaltError } from '#service/halt.ts';

export interface GroupPartition {
  readonly topic: string;
  readonly partition: number;
}

/** The records of one partition in one fetch: they lie within `firstOffset` to `lastOffset`, with gaps. */
export interface FetchedBatch extends GroupPartition {
  /** The offset that was asked for: Kafka has nothing for the caller between it and the first record. */
  readonly firstOffset: bigint;
  /** Counts control and aborted records too; before `firstOffset` where nothing precedes `unreadable`. */
  readonly lastOffset: bigint;
  readonly records: readonly LogRecord[];
  /** Of the first and the last batch with records; undefined without records. */
  readonly leaderEpochs?: { readonly first: number; readonly last: number };
  /** What follows `lastOffset` can't be read: `records` are good, and the partition can go no further. */
  readonly unreadable?: HaltError;
}

/** Counts over the partitions of one response. */
export interface ResponseBudget {
  leftBytes: number;
}

/**
 * What `fetched` holds from `fromOffset` on (a batch may begin before it); undefined where nothing is complete. Decodes batches
 * until the response has used up its budget, and no more then: the next fetch goes on.
 */
export function toFetchedBatch(
  topic: string,
  { partition, batches, aborted }: Pick<FetchedPartition, 'partition' | 'batches' | 'aborted'>,
  fromOffset: bigint,
  budget: ResponseBudget,
): FetchedBatch | undefined {
  if (budget.leftBytes <= 0) return undefined;
  const records: LogRecord[] = [];
  let lastOffset = fromOffset - 1n;
  let leaderEpochs: { first: number; last: number } | undefined;
  const toBatch = (): FetchedBatch => {
    return { topic, partition, firstOffset: fromOffset, lastOffset, records, ...(leaderEpochs && { leaderEpochs }) };
  };
  try {
    for (const batch of readBatches(batches, { topic, partition, aborted })) {
      if (batch.lastOffset < fromOffset) continue;
      lastOffset = batch.lastOffset;
      for (const record of batch.records) if (record.offset >= fromOffset) records.push(record);
      if (batch.records.length > 0) {
        leaderEpochs = { first: leaderEpochs?.first ?? batch.leaderEpoch, last: batch.leaderEpoch };
      }
      budget.leftBytes -= batch.expandedBytes;
      if (budget.leftBytes <= 0) break;
    }
  } catch (error) {
    if (!(error instanceof BatchUnreadableError || error instanceof BatchTooLargeError)) throw error;
    return { ...toBatch(), unreadable: error };
  }
  return lastOffset < fromOffset ? undefined : toBatch();
}
