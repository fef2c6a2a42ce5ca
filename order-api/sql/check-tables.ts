import { sql } from '@databases/pg';

/** Fails unless both tables can be read: tells a server that answers from one that this service can work with. */
export const checkTables = sql`SELECT FROM public.orders, public.order_items LIMIT 0`;
