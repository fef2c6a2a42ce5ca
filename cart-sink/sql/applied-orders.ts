/**
 * Statements on `applied_orders`, the ledger: the inbox table that makes the sink an idempotent consumer (I3).
 *
 * Every statement inserts or locks rows by order id, so no two transactions wait for each other. `applied_snapshot`
 * records what the order could see; replays depend on it.
 */
import { sql } from '@databases/pg';
import { formatLsn } from '#schemas/lsn.ts';
import type { Position } from '#schemas/position.ts';
import { plainArray, textArray } from '#service/postgres/array-literals.ts';

export interface LedgerRow extends Position {
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
}

export interface AppliedOrderRow {
  readonly orderId: string;
  /** The text form of pg_snapshot. */
  readonly snapshot: string;
}

/**
 * Inserts orders; one {@link InsertedOrdersRow} tells which were new. Waits for a transaction that is inserting one of them. Ids must be
 * distinct. Run it before the cart lines are read: the stored snapshot then never sees more than the order could.
 */
export const insertAppliedOrders = (ruleVersion: number, rows: readonly LedgerRow[]) => sql`
  WITH inserted AS (
    INSERT INTO applied_orders (order_id, user_id, source, timeline, commit_lsn, ordinal, rule_version)
    SELECT order_id, user_id, source, timeline, commit_lsn, ordinal, ${ruleVersion}
    FROM unnest(
      ${plainArray(rows.map((row) => row.orderId))}::uuid[],
      ${textArray(rows.map((row) => row.userId))}::text[],
      ${textArray(rows.map((row) => row.source))}::text[],
      ${plainArray(rows.map((row) => row.timeline))}::int[],
      ${plainArray(rows.map((row) => formatLsn(row.commitLsn)))}::pg_lsn[],
      ${plainArray(rows.map((row) => row.ordinal))}::int[]
    ) AS placed (order_id, user_id, source, timeline, commit_lsn, ordinal)
    ORDER BY order_id
    ON CONFLICT (order_id) DO NOTHING
    RETURNING order_id
  )
  SELECT count(*)::int AS count, CASE WHEN count(*) < ${rows.length} THEN string_agg(order_id::text, ',') END AS "orderIds"
  FROM inserted
`;

/** The orders that were new to the ledger. */
export interface InsertedOrdersRow {
  readonly count: number;
  /** Divided by commas; null where all were new, or none. */
  readonly orderIds: string | null;
}

/** Which of these orders were applied, with their snapshots. */
export const readAppliedOrders = (orderIds: readonly string[]) => sql`
  SELECT ledger.order_id AS "orderId", ledger.applied_snapshot AS snapshot
  FROM unnest((SELECT ${orderIds}::uuid[])) AS wanted (order_id)
  JOIN applied_orders AS ledger USING (order_id)
`;

/** The same, locked: only one transaction at a time recomputes an order's effect. */
export const lockAppliedOrders = (orderIds: readonly string[]) => sql`
  ${readAppliedOrders(orderIds)} ORDER BY ledger.order_id FOR UPDATE OF ledger
`;

/** Stores the version of the rule under which orders' effects were last changed. The rows must be locked. */
export const setRuleVersions = (orderIds: readonly string[], ruleVersion: number) => sql`
  UPDATE applied_orders AS ledger SET rule_version = ${ruleVersion}
  FROM unnest((SELECT ${orderIds}::uuid[])) AS changed (order_id)
  WHERE ledger.order_id = changed.order_id
`;

/** Whether an order that lies at this place is in the ledger, or the record there was parked. */
export const readSettled = (at: {
  readonly consumerGroup: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly orderId: string;
}) => sql`
  SELECT EXISTS (SELECT FROM applied_orders WHERE order_id = ${at.orderId}) OR EXISTS (
    SELECT FROM parked_events
    WHERE consumer_group = ${at.consumerGroup} AND topic = ${at.topic} AND partition = ${at.partition} AND "offset" = ${at.offset}
  ) AS is_settled
`;

/** An applied order as an operator is shown it. */
export interface LedgerFactsRow {
  readonly applied_at: Date;
  readonly timeline: number;
  readonly commit_lsn: string;
  readonly ordinal: number;
  readonly rule_version: number;
  readonly source: string;
}

/** One {@link LedgerFactsRow}, or none. */
export const readLedgerFacts = (orderId: string) => sql`
  SELECT applied_at, timeline, commit_lsn::text, ordinal, rule_version, source FROM applied_orders WHERE order_id = ${orderId}
`;
