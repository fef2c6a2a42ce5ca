import { sql } from '@databases/pg';

/** Which of these orders are in the ledger. */
export const readAppliedOrders = (orderIds: readonly string[]) => sql`
  SELECT order_id::text AS order_id FROM applied_orders WHERE order_id = ANY(${[...orderIds]}::uuid[])
`;
