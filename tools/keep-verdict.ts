// Keeps the last verdict of audit and replay in the carts database, where the sinks read it for consoles and alerts. Guarantees:
// the command's own verdict stands whatever becomes of this: a table that is missing, or a role that may not write, is a warning.
import type { AuditVerdict, ReplayVerdict } from '#schemas/carts-status.ts';
import type { Database } from '#service/database.ts';
import { describeError } from './run-tool.ts';
import { keepVerdictRow } from './sql/verdicts.ts';

const UNDEFINED_TABLE = '42P01';

type Verdict = ({ readonly kind: 'audit' } & AuditVerdict) | ({ readonly kind: 'replay' } & ReplayVerdict);

/** An older one never replaces a younger one. `warn` gets a line if it could not be kept. */
export async function keepVerdict(
  { pool }: Pick<Database, 'pool'>,
  { kind, at, ...verdict }: Verdict,
  warn: (line: string) => void,
): Promise<void> {
  try {
    await pool.query(keepVerdictRow(kind, new Date(at), JSON.stringify(verdict)));
  } catch (error) {
    const isMissing = (error as { code?: unknown }).code === UNDEFINED_TABLE;
    const why = isMissing ? 'the table verdicts is missing: run npm run migrate' : describeError(error);
    warn(`This verdict is not kept for the console (${why}).`);
  }
}
