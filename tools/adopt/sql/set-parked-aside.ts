import { sql } from '@databases/pg';

/**
 * Renames the topic in what was parked from a partition, so that a record which is parked later from an offset that comes
 * again finds its place free.
 */
export const setParkedAside = (
  place: { readonly consumerGroup: string; readonly topic: string; readonly partition: number },
  ownerEpoch: bigint,
) => sql`
  UPDATE parked_events SET topic = topic || ' before epoch ' || ${String(ownerEpoch)}
  WHERE consumer_group = ${place.consumerGroup} AND topic = ${place.topic} AND partition = ${place.partition}
`;
