// Whether the carts database has the tables and columns of this version.
import type { Database } from '#service/database.ts';
import { ConfigurationError } from '#service/environment.ts';
import { checkTables } from '../cart-sink/sql/check-tables.ts';

const UNDEFINED_TABLE = '42P01';
const UNDEFINED_COLUMN = '42703';

/** @throws ConfigurationError if a migration is missing; the database's error if it is unavailable */
export async function requireCartTables({ pool }: Database): Promise<void> {
  try {
    await pool.query(checkTables);
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code !== UNDEFINED_TABLE && code !== UNDEFINED_COLUMN) throw error;
    throw new ConfigurationError([
      'CART_DATABASE_URL: that database lacks tables or columns of this version: run `npm run migrate`, or start a cart-sink of ' +
        'this version once',
    ]);
  }
}
