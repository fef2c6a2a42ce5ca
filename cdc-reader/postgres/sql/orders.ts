// The two order tables as they are read directly: every order of a snapshot, and which orders exist.
import { type SQLQuery, sql } from '@databases/pg';
import { type ContractTable, contractTables } from '#schemas/contract-tables.ts';

const columnsOf = (table: ContractTable): SQLQuery =>
  sql.join(
    Object.keys(contractTables[table]).map((column) => sql.ident(column)),
    ', ',
  );

/** The contract's columns of all orders that the transaction sees, oldest first; the server sorts, and spills if it must. */
export const openOrdersCursor = sql`
  DECLARE snapshot_orders NO SCROLL CURSOR FOR
    SELECT ${columnsOf('orders')}
    FROM public.orders
    ORDER BY placed_at, order_id
`;

/** The next orders of the cursor; FETCH takes no parameters. */
export function fetchOrders(count: number): SQLQuery {
  if (!Number.isSafeInteger(count) || count < 1) throw new RangeError(`${count} is no number of orders to fetch.`);
  return sql`FETCH ${sql.__dangerous__rawValue(String(count))} FROM snapshot_orders`;
}

/** The contract's columns of the items of these orders, by order and line. */
export function readItemsOfOrders(orderIds: readonly string[]): SQLQuery {
  return sql`
    SELECT ${columnsOf('order_items')}
    FROM public.order_items
    WHERE order_id = ANY(${[...orderIds]}::uuid[])
    ORDER BY order_id, line_no
  `;
}

/** Postgres's estimate of the rows of `orders`, of the last ANALYZE or VACUUM; -1 before the first. */
export const estimateOrders = sql`SELECT reltuples::bigint FROM pg_class WHERE oid = 'public.orders'::regclass`;

/** Those of the given order ids that are in `orders`. */
export function readExistingOrders(orderIds: readonly string[]): SQLQuery {
  return sql`SELECT order_id::text FROM public.orders WHERE order_id = ANY(${[...orderIds]}::uuid[])`;
}

/** One order as an operator is shown it, or no row. A table of another writer may lack `placed_xid`. */
export function readOrderFacts(orderId: string): SQLQuery {
  return sql`
    SELECT order_id::text, user_id::text, source::text, placed_at,
      (extract(epoch FROM placed_at) * 1000000)::bigint AS placed_at_micros, to_jsonb(placed) ->> 'placed_xid' AS xid,
      (
        SELECT coalesce(json_agg(json_build_object('lineNo', line_no, 'sku', sku, 'quantity', quantity) ORDER BY line_no), '[]')
        FROM public.order_items AS item WHERE item.order_id = placed.order_id
      ) AS items
    FROM public.orders AS placed
    WHERE order_id = ${orderId}::uuid
  `;
}

/** The ids of a user's newest orders. */
export function readOrdersOfUser(userId: string, most: number): SQLQuery {
  return sql`
    SELECT order_id::text FROM public.orders WHERE user_id = ${userId} ORDER BY placed_at DESC, order_id DESC LIMIT ${most}
  `;
}
