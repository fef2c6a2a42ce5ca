// Statements on `parked_events` for operators' commands: counting, listing and showing them. Their outcomes are written by
// cart-sink/apply/decide-parked.ts.
import { sql } from '@databases/pg';

/** How many records have no outcome, and how many different ones: one published twice is parked twice. And how many have one. */
export const countParkedEvents = sql`
  SELECT count(*) FILTER (WHERE outcome IS NULL)::int AS parked,
    count(DISTINCT (md5(coalesce(key, '')), md5(coalesce(value, '')), key IS NULL, value IS NULL))
      FILTER (WHERE outcome IS NULL)::int AS distinct_parked,
    count(*) FILTER (WHERE outcome = 'discarded')::int AS discarded,
    count(*) FILTER (WHERE outcome = 'retried')::int AS retried
  FROM parked_events
`;

export interface ParkedEventRow {
  readonly parked_id: bigint;
  readonly consumer_group: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly reason: string;
  readonly parked_at: Date;
  readonly outcome: 'retried' | 'discarded' | null;
  readonly outcome_at: Date | null;
  readonly outcome_by: string | null;
  readonly outcome_reason: string | null;
}

const listColumns = sql`
  parked_id, consumer_group, topic, partition, "offset", reason, parked_at, outcome, outcome_at, outcome_by, outcome_reason
`;

/** Without keys and values. `all`: those with an outcome too. */
export const listParkedEvents = (all: boolean) => sql`
  SELECT ${listColumns} FROM parked_events WHERE outcome IS NULL OR ${all} ORDER BY parked_id
`;

export interface ParkedRecordRow extends ParkedEventRow {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
}

export const readParkedEvent = (parkedId: bigint) => sql`
  SELECT ${listColumns}, key, value FROM parked_events WHERE parked_id = ${parkedId}
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
