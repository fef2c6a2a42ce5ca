// What a command reports if Postgres refuses a read that must see every row. Every session runs with row_security = off, so a
// policy causes an error and never a shorter result.
import { ConfigurationError } from '#service/environment.ts';

const INSUFFICIENT_PRIVILEGE = '42501';

/** `variable`: the one whose role is refused. @throws ConfigurationError in place of Postgres's error */
export async function requireReadable<T>(variable: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw explainUnreadable(variable, error);
  }
}

/** Postgres's refusal with its remedy; any other error as it is. */
export function explainUnreadable(variable: string, error: unknown): unknown {
  if (!(error instanceof Error) || (error as { code?: unknown }).code !== INSUFFICIENT_PRIVILEGE) return error;
  return new ConfigurationError([
    `${variable}: its role may not read every row (${error.message}). Run GRANT SELECT on that table, and GRANT USAGE on its ` +
      'schema, to the role; for row-level security ALTER ROLE … BYPASSRLS, or ALTER TABLE … DISABLE ROW LEVEL SECURITY: a ' +
      'policy that lets all rows through is not enough.',
  ]);
}
