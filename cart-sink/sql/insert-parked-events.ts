import { sql } from '@databases/pg';

export interface ParkedRow {
  readonly offset: bigint;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly reason: string;
}

/** Keeps records that can never be applied, with their bytes. Fails if one of them was parked before. */
export const insertParkedEvents = (
  place: { readonly consumerGroup: string; readonly topic: string; readonly partition: number },
  rows: readonly ParkedRow[],
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
