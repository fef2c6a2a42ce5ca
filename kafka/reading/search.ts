// Finds a record in a partition whose records are sorted, by halving the range of offsets: some twenty fetches of one batch each,
// however long the partition is. Guarantees: only committed records are read, and a record that the caller can't read is passed
// over. What sorts the records is the caller's to know.
import type { LogRecord } from '#kafka/protocol/record.ts';
import type { KafkaLog } from './log.ts';

/** A batch, and little more. */
const FETCH_BYTES = 64 * 1024;

export interface SearchRange {
  readonly topic: string;
  readonly partition: number;
  /** From inclusive, until exclusive: the last stable offset, or less. */
  readonly fromOffset: bigint;
  readonly untilOffset: bigint;
  /** How long Kafka may deliver nothing. */
  readonly deadlineMs: number;
}

/**
 * An offset from which on to read for the first record at or after what is searched for: none that precedes it is. `isBefore`:
 * whether a record precedes it; undefined: it can't be read.
 */
export async function findOffset(
  log: Pick<KafkaLog, 'readRecords'>,
  range: SearchRange,
  isBefore: (record: LogRecord) => boolean | undefined,
): Promise<bigint> {
  let [low, high] = [range.fromOffset, range.untilOffset];
  while (low < high) {
    const middle = (low + high) / 2n;
    const found = await readVerdict(log, { ...range, fromOffset: middle, untilOffset: high }, isBefore);
    if (found?.isBefore) low = found.offset + 1n;
    else high = middle;
  }
  return low;
}

/** The first record of the range that can be read. */
async function readVerdict(
  log: Pick<KafkaLog, 'readRecords'>,
  range: SearchRange,
  isBefore: (record: LogRecord) => boolean | undefined,
): Promise<{ offset: bigint; isBefore: boolean } | undefined> {
  for await (const records of log.readRecords({ ...range, isolation: 'read_committed', maxBytes: FETCH_BYTES })) {
    for (const record of records) {
      const verdict = isBefore(record);
      if (verdict !== undefined) return { offset: record.offset, isBefore: verdict };
    }
  }
  return undefined;
}
