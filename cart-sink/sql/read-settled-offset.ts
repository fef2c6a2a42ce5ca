import { sql } from '@databases/pg';

/**
 * A partition's offset and owner once no transaction works on it any more: the lock waits for one whose COMMIT got no
 * answer, where a plain read would show what was before it.
 */
export const readSettledOffset = (group: string, topic: string, partition: number) => sql`
  SELECT next_offset, owner_epoch FROM consumer_offsets
  WHERE consumer_group = ${group} AND topic = ${topic} AND partition = ${partition}
  FOR UPDATE
`;
