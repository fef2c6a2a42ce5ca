-- Why a partition stands: written by the sink that owns it, for audit, replay and people; taking the partition over clears
-- it. The sinks never read it: whoever owns the partition decides again.
ALTER TABLE consumer_offsets
  ADD COLUMN halted_code text COLLATE "C",
  ADD COLUMN halted_message text,
  ADD COLUMN halted_at timestamptz;
