-- What the last audit and the last replay have found, one row a kind, written by the tools for consoles and alerts. The sinks
-- and the pipeline never depend on it: tools that find no such table, or may not write, go on without. `verdict` has the fields
-- of schemas/carts-status.ts. A new table, so nothing waits for a lock; the timeout is for CREATE in a schema that DDL has locked.
SET LOCAL lock_timeout = '1s';

CREATE TABLE verdicts (
  kind text COLLATE "C" PRIMARY KEY CHECK (kind IN ('audit', 'replay')),
  at timestamptz NOT NULL,
  verdict jsonb NOT NULL
);
