-- A replay run that Kafka has and this database did not know, since it was restored to before the run: by an operator's
-- command the sinks pass it over, whatever its rule version. Its state is `cancelled`, which sinks of before this
-- migration know.
ALTER TABLE replay_runs ADD COLUMN passed_over_at timestamptz;
