// Finds the newest record of a partition that a caller wants, reading backwards in growing windows: such a record is
// nearly always among the last few. Guarantees: only committed records count, and nothing in the given range is skipped; a
// batch that can't be read matters only where no wanted record follows it. Up to which offset to read, and what the record
// says, is left to the caller.

import { isBatchError } from '#kafka/protocol/batch-errors.ts';
import type { LogRecord } from '#kafka/protocol/record.ts';
import type { KafkaLog, ReadOptions } from './log.ts';

const FIRST_WINDOW = 64n;
const WINDOW_GROWTH = 32n;

export interface NewestRecordOptions extends Omit<ReadOptions, 'fromOffset' | 'isolation'> {
  /** The partition's earliest offset. */
  readonly earliest: bigint;
  /** By default any record. */
  readonly isWanted?: (record: LogRecord) => boolean;
  /** Offsets to read first, 64 by default: at least what one transaction may write after the wanted record. */
  readonly firstWindow?: bigint;
}

/** Returns the newest wanted record in `earliest` to `untilOffset` (exclusive); null if there is none. */
export async function findNewestRecord(
  log: Pick<KafkaLog, 'readRecords'>,
  { earliest, isWanted = () => true, firstWindow = FIRST_WINDOW, ...range }: NewestRecordOptions,
): Promise<LogRecord | null> {
  const readWindow = async (fromOffset: bigint, untilOffset: bigint): Promise<LogRecord | undefined> => {
    let newest: LogRecord | undefined;
    const read = { ...range, fromOffset, untilOffset, isolation: 'read_committed' } as const;
    for await (const records of log.readRecords(read)) newest = records.findLast(isWanted) ?? newest;
    return newest;
  };
  let { untilOffset } = range;
  for (let window = firstWindow; untilOffset > earliest; window *= WINDOW_GROWTH) {
    const fromOffset = untilOffset - window > earliest ? untilOffset - window : earliest;
    const newest = await readWindow(fromOffset, untilOffset).catch((error) =>
      isBatchError(error) ? findBehind(error, fromOffset, untilOffset, readWindow) : Promise.reject(error),
    );
    if (newest !== undefined) return newest;
    untilOffset = fromOffset;
  }
  return null;
}

/** The newest wanted record between the batch that can't be read and the end. @throws `error` if there is none */
async function findBehind(
  error: Error,
  fromOffset: bigint,
  untilOffset: bigint,
  readWindow: (fromOffset: bigint, untilOffset: bigint) => Promise<LogRecord | undefined>,
): Promise<LogRecord> {
  // A record and its control record are the least.
  for (let window = 2n; untilOffset - window > fromOffset; window *= 2n) {
    const newest = await readWindow(untilOffset - window, untilOffset).catch((again) => {
      throw isBatchError(again) ? error : again;
    });
    if (newest !== undefined) return newest;
  }
  throw error;
}
