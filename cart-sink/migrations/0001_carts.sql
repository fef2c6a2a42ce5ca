-- Carts, and what makes changing them exactly-once: the consumed offsets, the ledger of applied orders, what each of
-- them removed, and the records that can never be applied. All change in one transaction a batch (I3, I6).
-- Text is COLLATE "C": ids and SKUs are compared for equality only, and byte order is cheapest. Columns of fixed width
-- come first where a table gets a row an order, so that no padding is stored.

-- The form of user ids and SKUs. A domain is checked when a value enters; a CHECK on the table would be run again by
-- every reduction of a line (10 µs each).
CREATE DOMAIN cart_name AS text COLLATE "C" CHECK (VALUE ~ '^[A-Za-z0-9._:-]{1,64}$');

-- One live line per user and SKU. A line keeps its id until it reaches zero and is deleted; the SKU added later is a
-- new line. created_xid tells a replay which lines an order could see, together with the ledger's snapshot.
-- Quantities shrink in place: the free room of a page keeps those updates off the indexes.
CREATE TABLE cart_lines (
  line_id uuid PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now(),
  created_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  quantity integer NOT NULL,
  user_id cart_name NOT NULL,
  sku cart_name NOT NULL,
  CONSTRAINT cart_lines_one_live_line_per_sku UNIQUE (user_id, sku),
  CONSTRAINT cart_lines_quantity CHECK (quantity BETWEEN 1 AND 1000000)
) WITH (fillfactor = 70);

-- One row a partition. next_offset moves only in the transaction that applies the records before it, and only under
-- the owner_epoch of the sink that owns the partition: taking a partition over raises it. The last position is the
-- furthest one applied from the live topic (absent before the first event, and for replay topics).
CREATE TABLE consumer_offsets (
  consumer_group text COLLATE "C" NOT NULL,
  topic text COLLATE "C" NOT NULL,
  partition integer NOT NULL CHECK (partition >= 0),
  next_offset bigint NOT NULL CHECK (next_offset >= 0),
  owner_epoch bigint NOT NULL CHECK (owner_epoch >= 0),
  last_timeline integer,
  last_commit_lsn pg_lsn,
  last_ordinal integer,
  generation integer,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer_group, topic, partition),
  CONSTRAINT consumer_offsets_whole_position CHECK (num_nulls(last_timeline, last_commit_lsn, last_ordinal) IN (0, 3)),
  CONSTRAINT consumer_offsets_position_has_generation CHECK (last_timeline IS NULL OR generation IS NOT NULL)
) WITH (fillfactor = 50);

-- The ledger: every order that was ever applied, direct ones included. Never pruned, or a replay would take an order
-- a second time. source is the order's own ('cart', 'direct'). applied_snapshot was taken just before the cart lines
-- were read, so it never sees a line that the order could not.
CREATE TABLE applied_orders (
  order_id uuid PRIMARY KEY,
  commit_lsn pg_lsn NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  timeline integer NOT NULL,
  ordinal integer NOT NULL,
  rule_version smallint NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL,
  applied_snapshot pg_snapshot NOT NULL DEFAULT pg_current_snapshot()
);

-- What each item of each applied order really removed, one row an item. Entry 0 is the first application; a reapply
-- records the difference as further entries, a negative `removed` being goods given back.
CREATE TABLE cart_removals (
  order_id uuid NOT NULL,
  line_no integer NOT NULL,
  entry smallint NOT NULL DEFAULT 0,
  ordered integer NOT NULL,
  removed integer NOT NULL,
  line_id uuid,
  sku text COLLATE "C" NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  PRIMARY KEY (order_id, line_no, entry),
  CONSTRAINT cart_removals_first_entry_removes CHECK (entry > 0 OR removed BETWEEN 0 AND ordered)
);

-- Records that can never be applied, with their bytes, so that nothing is lost by going on. A second row for the same
-- place is refused: it would mean that a record was consumed twice.
CREATE TABLE parked_events (
  consumer_group text COLLATE "C" NOT NULL,
  topic text COLLATE "C" NOT NULL,
  partition integer NOT NULL,
  "offset" bigint NOT NULL,
  key bytea,
  value bytea,
  reason text NOT NULL,
  parked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer_group, topic, partition, "offset")
);
