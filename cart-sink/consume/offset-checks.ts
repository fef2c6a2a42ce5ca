/**
 * What the checks of offsets need to know (I11), without I/O: whether a partition may be consumed from its stored
 * offset, and whether kafkajs has delivered a record before.
 */
import { createHash } from 'node:crypto';
import type { LogRecord } from '#kafka/protocol/record.ts';

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

/** More chunks than kafkajs can have requested before the last was applied: two fetches of the smallest size. */
const REMEMBERED = 64;

/**
 * Distinguishes a fetch that kafkajs delivers a second time from a fetch of another log. When a leader moves, kafkajs
 * may have asked the new one for what it is still processing from the old one, and delivers both. It asked for an
 * offset at which a chunk begins. Other bytes at the same offset belong to a topic that was recreated.
 */
export function createRecentRecords() {
  const digests = new Map<bigint, string>();
  return {
    /** Remembers the first record of a chunk that was applied. */
    add: (record: LogRecord): void => {
      digests.set(record.offset, digest(record));
      if (digests.size > REMEMBERED) digests.delete(digests.keys().next().value!);
    },
    /** Whether exactly this record was remembered. */
    has: (record: LogRecord): boolean => digests.get(record.offset) === digest(record),
  };
}

function digest({ key, value }: LogRecord): string {
  const hash = createHash('sha256');
  for (const part of [key, value]) hash.update(part === null ? 'null;' : `${part.length};`).update(part ?? '');
  return hash.digest('base64');
}
