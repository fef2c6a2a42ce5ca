-- Orders and their items: what a row may hold.
--
-- Every committed order becomes an Avro event that must be deliverable, whoever wrote the row, so the limits of the
-- contract are CHECKs here and not only rules of the HTTP API. What may happen to a row after it was inserted, and
-- how orders and items belong together, is in 0002_order_rules.sql. Other writers insert the columns of the contract;
-- any column added later needs a default.

CREATE TABLE public.orders (
  order_id uuid PRIMARY KEY,
  user_id text NOT NULL CONSTRAINT orders_user_id_form CHECK (user_id ~ '^[A-Za-z0-9._:-]{1,64}$'),
  status text NOT NULL DEFAULT 'placed' CONSTRAINT orders_status_known CHECK (status IN ('placed', 'paid')),
  source text NOT NULL DEFAULT 'cart' CONSTRAINT orders_source_known CHECK (source IN ('cart', 'direct')),
  currency char(3) NOT NULL DEFAULT 'USD' CONSTRAINT orders_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  -- Belongs to whoever writes the order (discounts, taxes): not compared with the items. A bigint fits an Avro long.
  total_cents bigint NOT NULL CONSTRAINT orders_total_not_negative CHECK (total_cents >= 0),
  idempotency_key text CONSTRAINT orders_idempotency_key_form CHECK (idempotency_key ~ '^[\x21-\x7e]{1,255}$'),
  -- The start of the transaction. Orders of one transaction share it: order_id breaks the tie. The bounds keep out
  -- infinity and whatever doesn't fit microseconds since 1970 in 64 bits, or four digits of year in any time zone.
  placed_at timestamptz NOT NULL DEFAULT now() CONSTRAINT orders_placed_at_in_range
    CHECK (placed_at >= '1900-01-01 00:00:00+00' AND placed_at < '9999-01-01 00:00:00+00'),
  -- The top-level transaction that inserted the order (the same one inside a savepoint, unlike xmin).
  placed_xid xid8 NOT NULL DEFAULT pg_current_xact_id()
) WITH (fillfactor = 90); -- room for the one update that an order gets, so that paying touches no index

-- line_no is bounded by the number of items that an order may have: with the primary key, that makes them 500 at most.
-- No foreign key: refuse_late_items() checks more (the order exists and is of this transaction), set-based; orders
-- are never deleted, and a foreign key would lock every order row once an item.
CREATE TABLE public.order_items (
  order_id uuid NOT NULL,
  line_no integer NOT NULL CONSTRAINT order_items_line_no_in_range CHECK (line_no BETWEEN 1 AND 500),
  sku text NOT NULL CONSTRAINT order_items_sku_form CHECK (sku ~ '^[A-Za-z0-9._:-]{1,64}$'),
  quantity integer NOT NULL CONSTRAINT order_items_quantity_in_range CHECK (quantity BETWEEN 1 AND 1000000),
  unit_price_cents bigint NOT NULL
    CONSTRAINT order_items_unit_price_in_range CHECK (unit_price_cents BETWEEN 0 AND 10000000),
  cart_line_id uuid,
  PRIMARY KEY (order_id, line_no)
);

CREATE INDEX orders_by_user ON public.orders (user_id, placed_at DESC, order_id DESC);

CREATE UNIQUE INDEX orders_idempotency ON public.orders (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
