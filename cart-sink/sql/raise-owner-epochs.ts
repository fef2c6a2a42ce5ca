import { sql } from '@databases/pg';

export interface OwnedOffset {
  readonly topic: string;
  readonly partition: number;
  readonly owner_epoch: bigint;
  readonly next_offset: bigint;
  /** Text form; null before the first event of the live topic. */
  readonly last_commit_lsn: string | null;
}

/** Fences every earlier owner of these partitions and reads where to go on (I6). Their rows must be locked. */
export const raiseOwnerEpochs = (group: string, topics: readonly string[], partitions: readonly number[]) => sql`
  UPDATE consumer_offsets AS stored
  SET owner_epoch = stored.owner_epoch + 1, updated_at = now()
  FROM unnest(${topics}::text[], ${partitions}::int[]) AS assigned (topic, partition)
  WHERE stored.consumer_group = ${group}
    AND (stored.topic, stored.partition) = (assigned.topic, assigned.partition)
  RETURNING stored.topic, stored.partition, stored.owner_epoch, stored.next_offset, stored.last_commit_lsn
`;
