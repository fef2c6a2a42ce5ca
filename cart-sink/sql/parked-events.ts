import { sql } from '@databases/pg';

/** Stores records that can never be applied in `parked_events`, the dead-letter table; fails for one parked before. */
export const insertParkedEvents = (
  place: { readonly consumerGroup: string; readonly topic: string; readonly partition: number },
  rows: readonly {
    readonly offset: bigint;
    readonly key: Buffer | null;
    readonly value: Buffer | null;
    readonly reason: string;
  }[],
) => sql`
  INSERT INTO parked_events (consumer_group, topic, partition, "offset", key, value, reason)
  SELECT ${place.consumerGroup}, ${place.topic}, ${place.partition}, parked.*
  FROM unnest(
    ${rows.map((row) => row.offset)}::bigint[],
    ${rows.map((row) => row.key)}::bytea[],
    ${rows.map((row) => row.value)}::bytea[],
    ${rows.map((row) => row.reason)}::text[]
  ) AS parked
`;
