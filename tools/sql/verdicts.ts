// Statements on `verdicts`, which audit and replay write for consoles and alerts.
import { sql } from '@databases/pg';

/** Keeps a verdict, unless one of that kind is kept that is as young; `verdict`: JSON text. */
export const keepVerdictRow = (kind: 'audit' | 'replay', at: Date, verdict: string) => sql`
  INSERT INTO verdicts AS kept (kind, at, verdict) VALUES (${kind}, ${at}, ${verdict}::jsonb)
  ON CONFLICT (kind) DO UPDATE SET at = excluded.at, verdict = excluded.verdict WHERE kept.at < excluded.at
`;
