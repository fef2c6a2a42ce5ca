/**
 * Cuts the records of one fetch into chunks, each small enough for one database transaction. Pure.
 */
import type { KafkaRecord } from './parked.ts';

export interface ChunkLimits {
  readonly maxRecords: number;
  readonly maxBytes: number;
}

/** How many records from `start` on fit the limits; at least one, or a record above the bound could never pass. */
export function countChunk(records: readonly KafkaRecord[], start: number, limits: ChunkLimits): number {
  let bytes = 0;
  let count = 0;
  while (start + count < records.length && count < limits.maxRecords) {
    bytes += records[start + count]!.value?.length ?? 0;
    if (count > 0 && bytes > limits.maxBytes) break;
    count += 1;
  }
  return count;
}
