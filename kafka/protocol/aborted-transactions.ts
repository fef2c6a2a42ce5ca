// Which records of a fetch belong to aborted transactions, by the rule of Kafka's Java consumer
// (`CompletedFetch.nextFetchedRecord`): a producer's records are aborted from the first offset of its aborted transaction
// up to its abort marker. Pure. The broker lists transactions by their ends, so transactions that overlap are not in the
// order of their first offsets.

/** An aborted transaction that overlaps the fetched range, as a Fetch response lists it. */
export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: bigint;
}

/** Tells which records of a fetch read_committed must leave out. Call it in offset order. */
interface AbortedRecords {
  /** Whether the transaction that `producerId` had open at `offset` was aborted. */
  has(producerId: bigint, offset: bigint): boolean;
  /** Passes an abort marker: what its producer writes after it belongs to another transaction. */
  end(producerId: bigint, offset: bigint): void;
}

export function createAbortedRecords(transactions: readonly AbortedTransaction[]): AbortedRecords {
  const upcoming = [...transactions].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  const producers = new Set<bigint>();
  const enter = (offset: bigint): void => {
    while (upcoming.length > 0 && upcoming[0]!.firstOffset <= offset) producers.add(upcoming.shift()!.producerId);
  };
  return {
    has(producerId, offset) {
      enter(offset);
      return producers.has(producerId);
    },
    end(producerId, offset) {
      enter(offset);
      producers.delete(producerId);
    },
  };
}

const ABORT = 0;

/** The key of a control record holds a version and a type, each an int16. An emptied control batch has none. */
export function isAbortMarkerKey(key: Buffer | null | undefined): boolean {
  return key !== null && key !== undefined && key.readInt16BE(2) === ABORT;
}
