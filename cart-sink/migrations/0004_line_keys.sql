-- Adding goods to a cart with an Idempotency-Key, and the limit of lines that can be added to a cart.

-- One row a key of a user, written by the transaction that adds the goods: what was asked (sku, added) and what was
-- answered (the line as it was then). Kept for at least a day; the index is for deleting the oldest in small batches.
CREATE TABLE cart_line_keys (
  line_id uuid NOT NULL,
  line_created_at timestamptz NOT NULL,
  stored_at timestamptz NOT NULL DEFAULT now(),
  line_quantity integer NOT NULL,
  added integer NOT NULL,
  user_id cart_name NOT NULL,
  sku cart_name NOT NULL,
  idempotency_key text COLLATE "C" NOT NULL,
  CONSTRAINT cart_line_keys_one_request_per_key PRIMARY KEY (user_id, idempotency_key),
  CONSTRAINT cart_line_keys_form CHECK (idempotency_key ~ '^[\x21-\x7e]{1,255}$')
);

CREATE INDEX cart_line_keys_by_age ON cart_line_keys (stored_at);

-- Whether the user's cart has fewer than `most` lines. Takes a lock until the transaction ends, so that of several
-- requests each counts what those before it have added: a function's statements see what was committed meanwhile. Its
-- plan is cached for the session; made while the table was small, it would scan the whole table later.
CREATE FUNCTION cart_has_room(of_user text, most integer) RETURNS boolean LANGUAGE plpgsql VOLATILE
  SET enable_seqscan = off AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('tillstream.cart:' || of_user, 0));
  RETURN (SELECT count(*) < most FROM (SELECT FROM cart_lines WHERE user_id = of_user LIMIT most) AS line);
END $$;
