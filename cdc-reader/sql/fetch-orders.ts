import { type SQLQuery, sql } from '@databases/pg';

/** The next orders of the cursor; FETCH takes no parameters. */
export function fetchOrders(count: number): SQLQuery {
  if (!Number.isSafeInteger(count) || count < 1) throw new RangeError(`${count} is no number of orders to fetch.`);
  return sql`FETCH ${sql.__dangerous__rawValue(String(count))} FROM snapshot_orders`;
}
