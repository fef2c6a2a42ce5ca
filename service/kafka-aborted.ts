/** What a fetch answer says of an aborted transaction that overlaps the fetched range. */
export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: bigint;
}

/** Tells, asked in offset order, which records of a fetch a read_committed reader must leave out. */
export interface AbortedRecords {
  /** Whether what `producerId` wrote in a transaction at `offset` was aborted. */
  has(producerId: bigint, offset: bigint): boolean;
  /** Passes a producer's abort marker: what it writes behind it is another transaction. */
  end(producerId: bigint, offset: bigint): void;
}

/**
 * The rule of Kafka's Java consumer (`CompletedFetch.nextFetchedRecord`): a producer's records are aborted from the first
 * offset of its aborted transaction up to its abort marker. The broker lists transactions by their ends, so those that
 * overlap are not in the order of their beginnings.
 */
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

/** A control record's key holds a version and a type, each an int16; an emptied control batch ends nothing. */
export function isAbortMarkerKey(key: Buffer | null | undefined): boolean {
  return key !== null && key !== undefined && key.readInt16BE(2) === ABORT;
}
