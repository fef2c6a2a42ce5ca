/**
 * Statements on `cart_line_keys`: the requests that added goods with an Idempotency-Key, and what they were answered.
 *
 * A key is written by the statement that adds the goods, or neither is. Deleting old keys takes a bounded number, found
 * by the index on their age, and passes over those that another sink is deleting.
 */
import { sql } from '@databases/pg';
import { type AddedLine, addCartLine } from './cart-lines.ts';

/** SQLSTATE and constraint of a key that another request has just stored. */
export const UNIQUE_VIOLATION = '23505';
export const KEY_CONSTRAINT = 'cart_line_keys_one_request_per_key';

/**
 * As {@link addCartLine}, with the key in the same statement. Returns no row also if the key is stored already; fails with
 * {@link UNIQUE_VIOLATION}, and nothing is stored, if another request stores it at the same time.
 */
export const addCartLineByKey = (line: AddedLine, idempotencyKey: string) => sql`
  WITH line AS (${addCartLine(
    line,
    sql`EXISTS (
      SELECT FROM cart_line_keys WHERE user_id = ${line.userId} AND idempotency_key = ${idempotencyKey}
    )`,
  )})
  INSERT INTO cart_line_keys (user_id, idempotency_key, sku, added, line_id, line_quantity, line_created_at)
  SELECT ${line.userId}::text, ${idempotencyKey}::text, ${line.sku}::text, ${line.quantity}::integer,
    line."lineId", line.quantity, line."createdAt"
  FROM line
  RETURNING line_id AS "lineId", sku, line_quantity AS quantity, line_created_at AS "createdAt"
`;

/** Why nothing was added. */
export interface Refusal {
  /** What the key was stored with; all null if it is not. */
  readonly keySku: string | null;
  readonly keyAdded: number | null;
  readonly keyLineId: string | null;
  readonly keyLineQuantity: number | null;
  readonly keyLineCreatedAt: Date | null;
  /** Of the user's live line of this SKU, or null. */
  readonly quantity: number | null;
  /** Lines of the cart, counted up to `mostLines`. */
  readonly lines: bigint;
}

/** One {@link Refusal}. */
export const readRefusal = (line: AddedLine, idempotencyKey: string | null) => sql`
  SELECT key.sku AS "keySku", key.added AS "keyAdded", key.line_id AS "keyLineId",
    key.line_quantity AS "keyLineQuantity", key.line_created_at AS "keyLineCreatedAt",
    (SELECT quantity FROM cart_lines WHERE user_id = ${line.userId} AND sku = ${line.sku}) AS quantity,
    (SELECT count(*) FROM (SELECT FROM cart_lines WHERE user_id = ${line.userId} LIMIT ${line.mostLines}) AS held) AS lines
  FROM (SELECT) AS one
  LEFT JOIN cart_line_keys AS key ON key.user_id = ${line.userId} AND key.idempotency_key = ${idempotencyKey}
`;

/** Deletes the oldest keys that are older than a day, `most` at most; returns a row for each. */
export const deleteOldKeys = (most: number) => sql`
  DELETE FROM cart_line_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM cart_line_keys WHERE stored_at < now() - interval '24 hours'
    ORDER BY stored_at LIMIT ${most} FOR UPDATE SKIP LOCKED
  ))
  RETURNING 1 AS deleted
`;
