-- Replay: what was run and what came of it, and what is needed to give goods back as if they had never been taken.

-- When the line that an item reduced was made. A line that comes back gets it again, so that the orders which could
-- see the line see it again, and no others. Null in rows of before this migration.
ALTER TABLE cart_removals ADD COLUMN line_created_xid xid8;

-- The runs, written by the replay tool only. A run that is cancelled before its end is passed over by the sinks.
CREATE TABLE replay_runs (
  run_id uuid PRIMARY KEY,
  mode text COLLATE "C" NOT NULL CHECK (mode IN ('repair', 'reapply')),
  source text COLLATE "C" NOT NULL,
  rule_version smallint NOT NULL,
  plan jsonb NOT NULL,
  state text COLLATE "C" NOT NULL DEFAULT 'publishing'
    CHECK (state IN ('publishing', 'published', 'agreed', 'disagreed', 'cancelled')),
  created_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  verdict jsonb
);

-- What the sinks of a group did with a run's records of a partition, added up by the transactions that apply them: it
-- can't differ from what was applied. checksum is the sum of the orders' digests modulo 2^64, parked ones included.
-- end_count and end_checksum are what the run's last record of the partition says was published.
CREATE TABLE replay_results (
  run_id uuid NOT NULL,
  consumer_group text COLLATE "C" NOT NULL,
  partition integer NOT NULL,
  applied bigint NOT NULL DEFAULT 0,
  already bigint NOT NULL DEFAULT 0,
  changed bigint NOT NULL DEFAULT 0,
  parked bigint NOT NULL DEFAULT 0,
  checksum numeric(20) NOT NULL DEFAULT 0,
  end_count bigint,
  end_checksum numeric(20),
  updated_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  PRIMARY KEY (run_id, consumer_group, partition)
);
