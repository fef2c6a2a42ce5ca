-- The roles of Tillstream with the privileges that each needs, and nothing else on its tables. A superuser runs it in the orders
-- database and in the carts database, before the first `npm run migrate` and after each one:
--
--   psql --set ON_ERROR_STOP=1 --file ops/postgres/roles.sql "$DATABASE_URL"
--
-- Guarantees: one transaction; it can be run again and again, and changes nothing then. Tables, functions, the domain and the
-- publication of an earlier deployment go to migrator while services and reader run: the reader accepts a change of owner. The
-- owner until then keeps what running services need; a NOTICE names what to revoke later. A GRANT of what the schema grants
-- already would look like a rename and back to the reader, so the schema's privileges are tested first. Settings by PGOPTIONS:
-- '-c tillstream.publication=NAME' for another name, '-c tillstream.keep_publication=on' to leave its owner, which readers halt
-- for until one of this version has written a checkpoint. Passwords and CONNECT for others are left to the administrator.
DO $roles$
DECLARE
  publication_name CONSTANT text := coalesce(nullif(current_setting('tillstream.publication', true), ''), 'tillstream');
  keep_publication CONSTANT boolean := coalesce(nullif(current_setting('tillstream.keep_publication', true), ''), 'off')::boolean;
  -- Before the first migration nobody knows which of the two databases this is, unless both have tables already.
  is_carts CONSTANT boolean := to_regclass('public.cart_lines') IS NOT NULL;
  has_orders CONSTANT boolean := to_regclass('public.orders') IS NOT NULL;
  may_be_orders CONSTANT boolean := has_orders OR NOT is_carts;
  owned record;
  granted record;
  name text;
BEGIN
  PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
  PERFORM set_config('client_min_messages', 'notice', true);
  -- Moving a table waits for the transactions that use it, and those that come wait behind: rather fail, and be run again.
  PERFORM set_config('lock_timeout', '5s', true);
  PERFORM pg_advisory_xact_lock(hashtextextended('tillstream.roles', 0));

  FOREACH name IN ARRAY ARRAY['migrator', 'order_api', 'reader', 'cart_api', 'cart_sink', 'auditor'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      EXECUTE format('CREATE ROLE %I LOGIN', name);
    END IF;
  END LOOP;

  -- reader: the stream, and the names of other roles' sessions that keep it waiting. RDS grants replication by a role.
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') THEN
    IF NOT pg_has_role('reader', 'rds_replication', 'MEMBER') THEN
      GRANT rds_replication TO reader;
    END IF;
  ELSIF NOT (SELECT rolreplication FROM pg_roles WHERE rolname = 'reader') THEN
    ALTER ROLE reader REPLICATION;
  END IF;
  IF NOT pg_has_role('reader', 'pg_read_all_stats', 'MEMBER') THEN
    GRANT pg_read_all_stats TO reader;
  END IF;
  IF may_be_orders AND to_regprocedure('pg_catalog.pg_log_standby_snapshot()') IS NOT NULL
    AND NOT has_function_privilege('reader', to_regprocedure('pg_catalog.pg_log_standby_snapshot()'), 'EXECUTE')
  THEN
    GRANT EXECUTE ON FUNCTION pg_catalog.pg_log_standby_snapshot() TO reader;
  END IF;

  -- The schema: only migrator creates in it. Postgres 14, and databases that come from it, let everybody.
  IF EXISTS (
    SELECT FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'public' AND grantee = 0 AND privilege_type = 'CREATE'
  ) THEN
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
  END IF;
  IF NOT has_schema_privilege('migrator', 'public', 'CREATE') THEN
    GRANT CREATE ON SCHEMA public TO migrator;
  END IF;
  FOREACH name IN ARRAY ARRAY['migrator', 'order_api', 'reader', 'cart_api', 'cart_sink', 'auditor'] LOOP
    IF NOT has_schema_privilege(name, 'public', 'USAGE') THEN
      EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', name);
    END IF;
    -- Where CONNECT was taken from PUBLIC: to the roles of this database.
    IF NOT has_database_privilege(name, current_database(), 'CONNECT')
      AND (name IN ('migrator', 'auditor') OR (has_orders AND name IN ('order_api', 'reader'))
        OR (is_carts AND name IN ('cart_api', 'cart_sink')))
    THEN
      EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
    END IF;
  END LOOP;

  -- A publication needs CREATE on the database, of who creates it and of who owns it.
  IF may_be_orders THEN
    IF NOT has_database_privilege('migrator', current_database(), 'CREATE') THEN
      EXECUTE format('GRANT CREATE ON DATABASE %I TO migrator', current_database());
    END IF;
  ELSIF has_database_privilege('migrator', current_database(), 'CREATE') THEN
    EXECUTE format('REVOKE CREATE ON DATABASE %I FROM migrator', current_database());
  END IF;

  -- Ownership. The sequences of columns, the indexes and the row types go with their tables.
  FOR owned IN
    SELECT relname, pg_get_userbyid(relowner) AS owner, (SELECT rolsuper FROM pg_roles WHERE oid = relowner) AS by_superuser
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relowner <> 'migrator'::regrole
      AND relname IN ('orders', 'order_items', 'cart_lines', 'cart_line_keys', 'consumer_offsets', 'applied_orders',
        'cart_removals', 'parked_events', 'replay_runs', 'replay_results', 'verdicts', 'tillstream_migrations')
    ORDER BY relname = 'order_items', relname
  LOOP
    EXECUTE format('ALTER TABLE public.%I OWNER TO migrator', owned.relname);
    CONTINUE WHEN owned.by_superuser;
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON public.%I TO %I', owned.relname, owned.owner);
    RAISE NOTICE 'public.% belongs to migrator now. Once no service uses %: REVOKE ALL ON public.% FROM %',
      quote_ident(owned.relname), quote_ident(owned.owner), quote_ident(owned.relname), quote_ident(owned.owner);
  END LOOP;
  FOR owned IN
    SELECT oid::regprocedure AS signature
    FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND proowner <> 'migrator'::regrole
      AND proname IN ('refuse_order_change', 'refuse_changed_order', 'refuse_late_items', 'refuse_order_without_items',
        'cart_has_room')
  LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO migrator', owned.signature);
  END LOOP;
  IF EXISTS (
    SELECT FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typname = 'cart_name' AND typowner <> 'migrator'::regrole
  ) THEN
    ALTER DOMAIN public.cart_name OWNER TO migrator;
  END IF;
  -- Postgres wants a superuser as owner of one for all tables or for a schema: that one stays whose it is.
  IF NOT keep_publication AND EXISTS (
    SELECT FROM pg_publication
    WHERE pubname = publication_name AND pubowner <> 'migrator'::regrole AND NOT puballtables
      AND EXISTS (SELECT FROM pg_publication_rel WHERE prpubid = pg_publication.oid)
  ) THEN
    EXECUTE format('ALTER PUBLICATION %I OWNER TO migrator', publication_name);
  END IF;

  -- What each role may do with each table; whatever else it was granted there is taken away.
  -- * UPDATE beside DELETE is for the locks that FOR UPDATE takes.
  -- * cart_sink has what the consumer needs, and INSERT on the keys for a process that serves the cart API too; cart_api is for
  --   one that serves the cart API only. Both read a column of every table to find out whether the database is migrated.
  -- * auditor reads, and keeps its verdict. What changes orders or carts by an operator's command runs as reader and as migrator.
  FOR granted IN
    SELECT found.oid AS relid, found.relname, wanted.role, wanted.privileges
    FROM (VALUES
      ('orders', 'order_api', 'SELECT, INSERT, UPDATE (status)'),
      ('order_items', 'order_api', 'SELECT, INSERT'),
      ('orders', 'reader', 'SELECT'),
      ('order_items', 'reader', 'SELECT'),
      ('cart_lines', 'cart_api', 'SELECT, INSERT, UPDATE (quantity), DELETE'),
      ('cart_line_keys', 'cart_api', 'SELECT, INSERT'),
      ('consumer_offsets', 'cart_api', 'SELECT (halted_code)'),
      ('applied_orders', 'cart_api', 'SELECT (rule_version)'),
      ('cart_removals', 'cart_api', 'SELECT (entry)'),
      ('parked_events', 'cart_api', 'SELECT (parked_id)'),
      ('replay_runs', 'cart_api', 'SELECT (run_id)'),
      ('replay_results', 'cart_api', 'SELECT (run_id)'),
      ('cart_lines', 'cart_sink', 'SELECT, INSERT, UPDATE (quantity), DELETE'),
      ('cart_line_keys', 'cart_sink', 'SELECT, INSERT, UPDATE (stored_at), DELETE'),
      ('consumer_offsets', 'cart_sink', 'SELECT, INSERT, UPDATE'),
      ('applied_orders', 'cart_sink', 'SELECT, INSERT, UPDATE (rule_version)'),
      ('cart_removals', 'cart_sink', 'SELECT, INSERT'),
      ('parked_events', 'cart_sink', 'SELECT, INSERT'),
      ('replay_runs', 'cart_sink', 'SELECT'),
      ('replay_results', 'cart_sink', 'SELECT, INSERT, UPDATE'),
      ('verdicts', 'cart_sink', 'SELECT'),
      ('orders', 'auditor', 'SELECT'),
      ('order_items', 'auditor', 'SELECT'),
      ('cart_lines', 'auditor', 'SELECT'),
      ('cart_line_keys', 'auditor', 'SELECT (line_id)'),
      ('consumer_offsets', 'auditor', 'SELECT'),
      ('applied_orders', 'auditor', 'SELECT'),
      ('cart_removals', 'auditor', 'SELECT'),
      ('parked_events', 'auditor', 'SELECT'),
      ('replay_runs', 'auditor', 'SELECT'),
      ('replay_results', 'auditor', 'SELECT'),
      ('verdicts', 'auditor', 'SELECT, INSERT, UPDATE')
    ) AS wanted (relname, role, privileges)
    JOIN pg_class AS found ON found.relname = wanted.relname AND found.relnamespace = 'public'::regnamespace
  LOOP
    -- Before the migration that adds a column, the tables of an earlier version: the run after it grants that one.
    CONTINUE WHEN EXISTS (
      SELECT FROM regexp_matches(granted.privileges, '\(([a-z_]+)\)', 'g') AS wanted (columns)
      WHERE NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = granted.relid AND attname = wanted.columns[1] AND NOT attisdropped
      )
    );
    EXECUTE format('REVOKE ALL ON public.%I FROM %I', granted.relname, granted.role);
    EXECUTE format('GRANT %s ON public.%I TO %I', granted.privileges, granted.relname, granted.role);
  END LOOP;
END
$roles$;
