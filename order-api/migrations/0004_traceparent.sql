-- The trace context of the request that placed an order (W3C traceparent), which travels to the event's Kafka header. No column
-- of the contract: whoever reads the event doesn't need it, and orders without one are published alike. Only the form of version
-- 00 is stored, so that no writer can make an event that can't be delivered.
-- ALTER TABLE waits for running transactions, and every new one waits behind it: rather give up, and try again.
SET LOCAL lock_timeout = '1s';

ALTER TABLE orders ADD COLUMN traceparent text COLLATE "C";

-- NOT VALID: new rows are checked, and old ones need not be read; they have none.
ALTER TABLE orders ADD CONSTRAINT orders_traceparent
  CHECK (traceparent ~ '^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$') NOT VALID;
