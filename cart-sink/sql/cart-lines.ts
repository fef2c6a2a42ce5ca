/**
 * Statements on `cart_lines`: those of the sink, which take many lines at once, and those of the cart API, one line
 * each.
 *
 * A transaction that locks several lines locks them by line id, so no two transactions wait for each other. The
 * sub-selects around array parameters hide the arrays' lengths from the planner: knowing them, it reads the whole table
 * for a batch of 2,000 orders, while an index lookup a line is faster at every size.
 */
import { type SQLQuery, sql } from '@databases/pg';
import { plainArray, textArray } from '#service/postgres/array-literals.ts';
import type { StoredLine } from '../rule/cart-state.ts';

/** A line as the cart API shows it. */
export interface CartLineView {
  readonly lineId: string;
  readonly sku: string;
  readonly quantity: number;
  readonly createdAt: Date;
}

/** Pairs by their place in both. */
export interface UserSkus {
  readonly userIds: readonly string[];
  readonly skus: readonly string[];
}

const joinWanted = ({ userIds, skus }: UserSkus) => sql`
  FROM unnest(
    (SELECT ${textArray(userIds)}::text[]),
    (SELECT ${textArray(skus)}::text[])
  ) WITH ORDINALITY AS wanted (user_id, sku, number)
  JOIN cart_lines AS line USING (user_id, sku)
`;

/** The live lines of these users and SKUs, without a lock; rows as {@link StoredLine}. */
export const readLiveLines = (wanted: UserSkus) => sql`
  SELECT line.line_id AS "lineId", line.user_id AS "userId", line.sku, line.quantity, line.created_xid AS "createdXid"
  ${joinWanted(wanted)}
`;

/**
 * The same, locked, in their newest versions. A line that is deleted while this waits is left out; a line that is added
 * meanwhile comes after these orders. Returns one row of lists, for {@link parseLockedLines}: of a large batch, a row a line
 * takes the client as long as everything else that it does.
 */
export const lockCartLines = (wanted: UserSkus) => sql`
  WITH locked AS (
    SELECT wanted.number, line.line_id, line.quantity, line.created_xid
    ${joinWanted(wanted)} ORDER BY line.line_id FOR UPDATE OF line
  )
  SELECT string_agg(number::text, ',') AS numbers, string_agg(line_id::text, ',') AS "lineIds",
    string_agg(quantity::text, ',') AS quantities, string_agg(created_xid::text, ',') AS "createdXids"
  FROM locked
`;

/** Lists divided by commas, a line each; all null where there is no line. */
export interface LockedLinesRow {
  /** The place in what was wanted, from 1. */
  readonly numbers: string | null;
  readonly lineIds: string | null;
  readonly quantities: string | null;
  readonly createdXids: string | null;
}

/** The lines of a row of {@link lockCartLines} for `wanted`. */
export function parseLockedLines({ userIds, skus }: UserSkus, row: LockedLinesRow): StoredLine[] {
  if (row.numbers === null) return [];
  const lineIds = row.lineIds!.split(',');
  const quantities = row.quantities!.split(',');
  const createdXids = row.createdXids!.split(',');
  return row.numbers.split(',').map((number, index) => {
    const place = Number(number) - 1;
    const [userId, sku] = [userIds[place]!, skus[place]!];
    return {
      lineId: lineIds[index]!,
      userId,
      sku,
      quantity: Number(quantities[index]),
      createdXid: createdXids[index]!,
    };
  });
}

/** Lines by id, whoever owns them, without a lock; rows as {@link StoredLine}. */
export const readCartLines = (lineIds: readonly string[]) => sql`
  SELECT line_id AS "lineId", user_id AS "userId", sku, quantity, created_xid AS "createdXid"
  FROM unnest((SELECT ${plainArray(lineIds)}::uuid[])) AS named (line_id)
  JOIN cart_lines USING (line_id)
`;

/** Stores the quantities that are left. The lines must be locked. */
export const reduceCartLines = (lines: readonly { readonly lineId: string; readonly quantity: number }[]) => sql`
  UPDATE cart_lines AS line
  SET quantity = reduced.quantity
  FROM unnest(
    (SELECT ${plainArray(lines.map(({ lineId }) => lineId))}::uuid[]),
    (SELECT ${plainArray(lines.map(({ quantity }) => quantity))}::int[])
  ) AS reduced (line_id, quantity)
  WHERE line.line_id = reduced.line_id
`;

/** Deletes the lines that have reached zero. They must be locked. */
export const deleteCartLines = (lineIds: readonly string[]) => sql`
  DELETE FROM cart_lines AS line
  USING unnest((SELECT ${plainArray(lineIds)}::uuid[])) AS emptied (line_id)
  WHERE line.line_id = emptied.line_id
`;

/**
 * Inserts lines again with their former ids and creating transactions. Where the user has a live line of that SKU by
 * now, that line is locked and returned instead, unchanged. Returns one {@link StoredLine} a line.
 */
export const claimCartLines = (lines: readonly StoredLine[]) => sql`
  INSERT INTO cart_lines AS live (line_id, created_xid, quantity, user_id, sku)
  SELECT line_id, created_xid, quantity, user_id, sku FROM unnest(
    ${lines.map(({ lineId }) => lineId)}::uuid[],
    ${lines.map(({ createdXid }) => createdXid)}::xid8[],
    ${lines.map(({ quantity }) => quantity)}::int[],
    ${lines.map(({ userId }) => userId)}::text[],
    ${lines.map(({ sku }) => sku)}::text[]
  ) AS back (line_id, created_xid, quantity, user_id, sku)
  ORDER BY user_id, sku
  ON CONFLICT (user_id, sku) DO UPDATE SET quantity = live.quantity
  RETURNING line_id AS "lineId", user_id AS "userId", sku, quantity, created_xid AS "createdXid"
`;

/** A user's live lines, oldest first: line ids made here are time-ordered. Rows as {@link CartLineView}. */
export const readCart = (userId: string) => sql`
  SELECT line_id AS "lineId", sku, quantity, created_at AS "createdAt" FROM cart_lines WHERE user_id = ${userId} ORDER BY line_id
`;

export interface AddedLine {
  readonly userId: string;
  readonly sku: string;
  /** Of the line, if it is a new one. */
  readonly lineId: string;
  readonly quantity: number;
  /** The most that the line may hold, and the most lines that the cart may have if this one is new. */
  readonly most: number;
  readonly mostLines: number;
}

/**
 * Adds to the user's live line of that SKU, or inserts it as the new line `lineId`. Returns no row, and stores nothing,
 * if the sum would exceed `most`, or the cart has `mostLines` others. If the sink is deleting the line, this waits and
 * then inserts a new one, so added goods are never deleted with the line that they would have joined.
 */
export const addCartLine = (line: AddedLine, unless: SQLQuery = sql`false`) => sql`
  INSERT INTO cart_lines AS live (line_id, user_id, sku, quantity)
  SELECT ${line.lineId}::uuid, ${line.userId}::text, ${line.sku}::text, ${line.quantity}::integer
  WHERE NOT ${unless} AND (
    EXISTS (SELECT FROM cart_lines WHERE user_id = ${line.userId} AND sku = ${line.sku})
    OR cart_has_room(${line.userId}, ${line.mostLines})
  )
  ON CONFLICT (user_id, sku) DO UPDATE SET quantity = live.quantity + excluded.quantity
    WHERE live.quantity + excluded.quantity <= ${line.most}
  RETURNING line_id AS "lineId", sku, quantity, created_at AS "createdAt"
`;

/** Sets the quantity of a user's line; no row if the user has no such line. Rows as {@link CartLineView}. */
export const changeCartLine = (userId: string, lineId: string, quantity: number) => sql`
  UPDATE cart_lines SET quantity = ${quantity}
  WHERE line_id = ${lineId} AND user_id = ${userId}
  RETURNING line_id AS "lineId", sku, quantity, created_at AS "createdAt"
`;

/** Deletes a user's line and returns its id; no row if the user has no such line. */
export const removeCartLine = (userId: string, lineId: string) => sql`
  DELETE FROM cart_lines WHERE line_id = ${lineId} AND user_id = ${userId} RETURNING line_id
`;
