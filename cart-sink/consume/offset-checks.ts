/** What the checks of offsets need to know (I11), without I/O: whether a partition may be consumed from its stored offset. */

export interface PartitionRange {
  readonly earliest: bigint;
  readonly highWatermark: bigint;
}

export type StartCheck = 'continues' | 'records-lost' | 'beyond-end';

/** May consuming start at `stored`? A group that never consumed has 0, so it needs the partition from its start. */
export function checkStart(stored: bigint, range: PartitionRange): StartCheck {
  if (range.earliest > stored) return 'records-lost';
  return stored > range.highWatermark ? 'beyond-end' : 'continues';
}

/** Whether the name leads to another topic than the one that was consumed; an id that is not known proves nothing. */
export function isOtherTopic(consumedId: string | null, foundId: string | null): boolean {
  return consumedId !== null && foundId !== null && consumedId !== foundId;
}
