import { sql } from '@databases/pg';

/** Makes services that start together create the publication one after the other; released at the transaction's end. */
export const lockPublication = sql`SELECT pg_advisory_xact_lock(hashtextextended('tillstream.publication', 0))`;
