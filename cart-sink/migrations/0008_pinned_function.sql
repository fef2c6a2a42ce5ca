-- cart_has_room() of 0004 finds nothing by its caller's search_path any more, and names the schema of its table and operators.
CREATE OR REPLACE FUNCTION public.cart_has_room(of_user text, most integer) RETURNS boolean LANGUAGE plpgsql VOLATILE
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock(
    pg_catalog.hashtextextended('tillstream.cart:' OPERATOR(pg_catalog.||) of_user, 0)
  );
  RETURN (
    SELECT pg_catalog.count(*) OPERATOR(pg_catalog.<) most
    FROM (SELECT FROM public.cart_lines WHERE user_id OPERATOR(pg_catalog.=) of_user LIMIT most) AS line
  );
END $$;
