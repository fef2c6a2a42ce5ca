/**
 * Tells a fetch that kafkajs delivers a second time from one of another log. Pure.
 *
 * When a leader moves, kafkajs may have asked the new one for what it still works on from the old one, and delivers
 * both. It asked for a place where a chunk begins, so the first record of each of the last chunks is remembered. A
 * record at the same offset with other bytes belongs to a topic that was created anew: that is no repetition (I11).
 */
import { createHash } from 'node:crypto';
import type { KafkaRecord } from './parked.ts';

/** More chunks than kafkajs can have asked for before the last of them was applied: two fetches of the least size. */
const REMEMBERED = 64;

export interface RecentRecords {
  /** Notes the first record of a chunk that is applied. */
  note(record: KafkaRecord): void;
  /** Whether exactly this record was noted. */
  has(record: KafkaRecord): boolean;
}

export function createRecentRecords(): RecentRecords {
  const digests = new Map<bigint, string>();
  return {
    note: (record) => {
      digests.set(record.offset, digest(record));
      if (digests.size > REMEMBERED) digests.delete(digests.keys().next().value!);
    },
    has: (record) => digests.get(record.offset) === digest(record),
  };
}

function digest({ key, value }: KafkaRecord): string {
  const hash = createHash('sha256');
  for (const part of [key, value]) hash.update(part === null ? 'null;' : `${part.length};`).update(part ?? '');
  return hash.digest('base64');
}
