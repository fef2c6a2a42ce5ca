-- What may happen to orders and items, for every writer: an order is inserted together with its items in one database
-- transaction, after which nothing but its status changes, from placed to paid.
--
-- The functions run with their owner's rights and a fixed search_path, so that a writer needs INSERT only and can't put
-- a table of its own in front. Where they query, enable_seqscan is off: their plans are cached for the session, and one
-- made while a table was small would scan it for every row of a later COPY. The triggers are ordinary ones and do not
-- fire in sessions with session_replication_role = replica (logical replication into a new server), on purpose.

-- Names the rule that was broken. SQLSTATE 23514 (check_violation), as for a CHECK.
CREATE FUNCTION public.refuse_order_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
    MESSAGE = format('%s on %I refused: %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]);
END $$;

CREATE TRIGGER orders_are_kept BEFORE DELETE OR TRUNCATE ON public.orders
  FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_order_change('orders are never removed');

CREATE TRIGGER order_items_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON public.order_items
  FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_order_change('items never change once inserted');

CREATE TRIGGER orders_status_moves_forward AFTER UPDATE ON public.orders
  FOR EACH ROW WHEN (OLD.status = 'paid' AND NEW.status <> 'paid')
  EXECUTE FUNCTION public.refuse_order_change('status moves from placed to paid only');

-- Compares whole rows byte by byte, so that a column added later is immutable as well.
CREATE FUNCTION public.refuse_changed_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.status := OLD.status;
  IF NEW *<> OLD THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
      MESSAGE = 'UPDATE on orders refused: only the status of an order may change';
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER orders_are_immutable AFTER UPDATE ON public.orders
  FOR EACH ROW EXECUTE FUNCTION public.refuse_changed_order();

-- Items of an order that another transaction inserted, or of none. A writer that supplies placed_xid itself gains
-- nothing: an order that names another transaction can get no items in its own, and is refused at commit for having
-- none. The scalar subquery stays an index probe an order; a join could become a hash of all orders.
CREATE FUNCTION public.refuse_late_items() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  IF EXISTS (
    SELECT FROM (SELECT DISTINCT order_id FROM inserted_items) AS item
    WHERE (SELECT placed_xid FROM public.orders WHERE orders.order_id = item.order_id)
      IS DISTINCT FROM pg_current_xact_id()
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
      MESSAGE = 'INSERT on order_items refused: items are inserted in the same transaction as their order';
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER order_items_come_with_their_order AFTER INSERT ON public.order_items
  REFERENCING NEW TABLE AS inserted_items
  FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_late_items();

-- At commit: an order without items can't be published.
CREATE FUNCTION public.refuse_order_without_items() RETURNS trigger LANGUAGE plpgsql
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM public.order_items WHERE order_items.order_id = NEW.order_id) THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
      MESSAGE = 'INSERT on orders refused: an order has at least one item, inserted in the same transaction';
  END IF;
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER orders_have_items AFTER INSERT ON public.orders
  DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION public.refuse_order_without_items();
