import { sql } from '@databases/pg';

/** How many records are parked, and how many different ones: one published twice is parked twice. */
export const countParkedEvents = sql`
  SELECT count(*)::int AS parked,
    count(DISTINCT (md5(coalesce(key, '')), md5(coalesce(value, '')), key IS NULL, value IS NULL))::int AS distinct_parked
  FROM parked_events
`;

/**
 * Renames the topic of the events parked from a partition. A record that is parked later from an offset that occurs again
 * then finds its key free.
 */
export const setParkedAside = (
  place: { readonly consumerGroup: string; readonly topic: string; readonly partition: number },
  ownerEpoch: bigint,
) => sql`
  UPDATE parked_events SET topic = topic || ' before epoch ' || ${String(ownerEpoch)}
  WHERE consumer_group = ${place.consumerGroup} AND topic = ${place.topic} AND partition = ${place.partition}
`;
