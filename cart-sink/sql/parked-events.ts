/**
 * Statements on `parked_events`, the dead-letter table: records that could not be applied, with their bytes.
 *
 * A row is never deleted: its outcome tells what an operator's command did about it. Lock the offset of its partition
 * before its row, as a batch does.
 */
import { sql } from '@databases/pg';

/** Stores records that can never be applied; fails for one parked before. Returns their ids. */
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
  RETURNING parked_id AS "parkedId"
`;

export type ParkedOutcome = 'retried' | 'discarded';

export interface ParkedOutcomeRow {
  /** Null: nobody has decided yet. */
  readonly outcome: ParkedOutcome | null;
}

/** The outcome of a parked event, locked until the transaction ends; no row if there is no such event. */
export const lockParkedEvent = (parkedId: bigint) => sql`
  SELECT outcome FROM parked_events WHERE parked_id = ${parkedId} FOR UPDATE
`;

/** Stores what was done about a parked event, by whom and why. The row must be locked, and without an outcome. */
export const closeParkedEvent = (
  parkedId: bigint,
  outcome: { readonly kind: ParkedOutcome; readonly by: string; readonly reason: string },
) => sql`
  UPDATE parked_events
  SET outcome = ${outcome.kind}, outcome_at = now(), outcome_by = ${outcome.by}, outcome_reason = ${outcome.reason}
  WHERE parked_id = ${parkedId}
`;

/** A record that nobody has decided about, without its bytes. */
export interface PendingParkedRow {
  readonly parked_id: bigint;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly reason: string;
  readonly parked_at: Date;
}

/** The newest {@link PendingParkedRow}s, `most` at most. */
export const readPendingParked = (most: number) => sql`
  SELECT parked_id, topic, partition, "offset", reason, parked_at
  FROM parked_events WHERE outcome IS NULL ORDER BY parked_id DESC LIMIT ${most}
`;

export const countPendingParked = sql`SELECT count(*)::int AS parked FROM parked_events WHERE outcome IS NULL`;

export interface ParkedOfOrderRow extends PendingParkedRow, ParkedOutcomeRow {}

/** Records that hold the order's id as text, as events do, readable or not. Reads all parked records. */
export const readParkedOfOrder = (orderId: string) => sql`
  SELECT parked_id, topic, partition, "offset", reason, parked_at, outcome
  FROM parked_events WHERE position(convert_to(${orderId}, 'UTF8') IN value) > 0 ORDER BY parked_id
`;
