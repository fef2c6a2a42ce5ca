-- The id that Kafka gave the topic in which next_offset counts: a topic that is deleted and created again has another one.
-- Null where no sink has learnt it yet; sinks of before this migration leave it as it is.
ALTER TABLE consumer_offsets ADD COLUMN topic_id uuid;
