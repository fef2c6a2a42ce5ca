/**
 * Whether what Kafka offers continues what the database holds (I11). Pure: offsets in, a verdict out.
 *
 * kafkajs answers an offset out of range by jumping to the start of the partition, without a word. So every fetch is
 * compared with the offset that was expected. Above it is legal while the partition still begins at or before it: only
 * control and aborted records lie between. Below it, or past what was deleted, or beyond the end: never.
 */
export interface PartitionRange {
  readonly earliest: bigint;
  readonly highWatermark: bigint;
}

export type StartVerdict = 'continues' | 'records-lost' | 'beyond-end';

/** May consuming start at `stored`? A group that never consumed has 0, and so needs the partition from its start. */
export function judgeStart(stored: bigint, range: PartitionRange): StartVerdict {
  if (range.earliest > stored) return 'records-lost';
  return stored > range.highWatermark ? 'beyond-end' : 'continues';
}

export type FetchVerdict = 'continues' | 'went-back' | 'ask-earliest';

/** May a fetch that starts at `first` be applied when `expected` comes next? */
export function judgeFetch(expected: bigint, first: bigint): FetchVerdict {
  if (first === expected) return 'continues';
  return first < expected ? 'went-back' : 'ask-earliest';
}
