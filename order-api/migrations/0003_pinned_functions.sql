-- The trigger functions of 0002 find nothing by the writer's search_path: each has its own, and names the schema of operators, so
-- that nobody who may create an operator or a function elsewhere changes what is refused. What they check is as before.

CREATE OR REPLACE FUNCTION public.refuse_order_change() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
    MESSAGE = pg_catalog.format('%s on %I refused: %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]);
END $$;

CREATE OR REPLACE FUNCTION public.refuse_changed_order() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  NEW.status := OLD.status;
  IF NEW OPERATOR(pg_catalog.*<>) OLD THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
      MESSAGE = 'UPDATE on orders refused: only the status of an order may change';
  END IF;
  RETURN NULL;
END $$;

-- IS DISTINCT FROM can't name a schema; it finds xid8's = in pg_catalog, which is first.
CREATE OR REPLACE FUNCTION public.refuse_late_items() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  IF EXISTS (
    SELECT FROM (SELECT DISTINCT order_id FROM inserted_items) AS item
    WHERE (SELECT placed_xid FROM public.orders WHERE orders.order_id OPERATOR(pg_catalog.=) item.order_id)
      IS DISTINCT FROM pg_catalog.pg_current_xact_id()
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
      MESSAGE = 'INSERT on order_items refused: items are inserted in the same transaction as their order';
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION public.refuse_order_without_items() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM public.order_items WHERE order_items.order_id OPERATOR(pg_catalog.=) NEW.order_id
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
      MESSAGE = 'INSERT on orders refused: an order has at least one item, inserted in the same transaction';
  END IF;
  RETURN NULL;
END $$;
