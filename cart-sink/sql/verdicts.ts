/** Statements on `verdicts`: the last audit's and the last replay's, which the tools write (tools/sql/verdicts.ts). */
import { sql } from '@databases/pg';

export interface VerdictRow {
  readonly kind: 'audit' | 'replay';
  readonly at: Date;
  readonly verdict: Readonly<Record<string, unknown>>;
}

export const readVerdicts = sql`SELECT kind, at, verdict FROM verdicts`;
