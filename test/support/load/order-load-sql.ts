// What the loads of order-load.ts consist of, as SQL. Order number i is the same order wherever it is made: its user,
// SKUs, quantities and cart lines follow from i alone, so that the carts for a load are filled in another database
// without the two ever being compared. Only the ids of orders are random.

/** How orders are spread: number i belongs to user i % users, its items to that user's SKUs in turn. */
export interface OrderShape {
  readonly users: number;
  readonly itemsPerOrder: number;
  /** At least `itemsPerOrder`: the items of one order are different SKUs. */
  readonly skusPerUser: number;
}

/** Five thousand users with thirty cart lines each; each line is ordered from several times as numbers go on. */
export const defaultShape: OrderShape = { users: 5_000, itemsPerOrder: 3, skusPerUser: 30 };

const user = (i: string, { users }: OrderShape) => `'user-' || (${i} % ${users})`;
const sku = (i: string, k: string, { users, itemsPerOrder, skusPerUser }: OrderShape) =>
  `'SKU-' || ((${i} / ${users} * ${itemsPerOrder} + ${k}) % ${skusPerUser})`;
/** The id of a user's only line of a SKU. */
const line = (userSql: string, skuSql: string) => `md5(${userSql} || ' ' || ${skuSql})::uuid`;

/** Every other order names the lines that its goods come from. */
const namesLines = (i: string) => `${i} % 2 = 0`;

/** Orders and items `from`…`from + count - 1` as two statements for one transaction; parameters: from, count. */
export function multiRowInserts(shape: OrderShape): { readonly orders: string; readonly items: string } {
  return {
    orders: `
      INSERT INTO orders (order_id, user_id, total_cents)
      SELECT md5('bulk ' || i)::uuid, ${user('i', shape)}, 600 FROM generate_series($1::int, $1::int + $2::int - 1) AS i
      RETURNING order_id`,
    items: `
      INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents, cart_line_id)
      SELECT md5('bulk ' || i)::uuid, k, sku, k, 100, CASE WHEN ${namesLines('i')} THEN ${line('user_id', 'sku')} END
      FROM ${itemRows('$1::int', '$2::int', shape)}`,
  };
}

/** Rows (i, k, user_id, sku) for all items of the orders `from`…`from + count - 1`. */
function itemRows(from: string, count: string, shape: OrderShape): string {
  return `(SELECT i, k, ${user('i', shape)} AS user_id, ${sku('i', 'k', shape)} AS sku
    FROM generate_series(${from}, ${from} + ${count} - 1) AS i, generate_series(1, ${shape.itemsPerOrder}) AS k) AS item`;
}

/** The rows of `orders` for COPY, one line an order; parameters: from, count. */
export const copyOrderLines = (shape: OrderShape) =>
  `SELECT concat_ws(E'\\t', md5('bulk ' || i), ${user('i', shape)}, 600) AS line
   FROM generate_series($1::int, $1::int + $2::int - 1) AS i`;

/** The rows of `order_items` for COPY; parameters: from, count. */
export const copyItemLines = (shape: OrderShape) =>
  `SELECT concat_ws(E'\\t', md5('bulk ' || i), k, sku, k, 100,
     CASE WHEN ${namesLines('i')} THEN ${line('user_id', 'sku')}::text ELSE '\\N' END) AS line
   FROM ${itemRows('$1::int', '$2::int', shape)} ORDER BY i, k`;

/**
 * Fills the carts for the orders `from`…`from + count - 1`: each line gets what these orders take from it, and lines of
 * every other SKU one more, which is left over. Parameters: from, count.
 */
export const fillCartLines = (shape: OrderShape) => `
  INSERT INTO cart_lines (line_id, user_id, sku, quantity)
  SELECT ${line('user_id', 'sku')}, user_id, sku, sum(k) + right(sku, 1)::int % 2
  FROM ${itemRows('$1::int', '$2::int', shape)}
  GROUP BY user_id, sku
  ORDER BY user_id, sku
  ON CONFLICT (user_id, sku) DO UPDATE SET quantity = cart_lines.quantity + excluded.quantity`;

/** Installs `order_load.place(i)` and `order_load.backlog(count, first)` for one shape, beside the contract's tables. */
export const installProcedures = (shape: OrderShape) => `
  CREATE SCHEMA IF NOT EXISTS order_load;
  DO $do$ BEGIN
    -- Ids that grow with time, as order-api makes them, where the server can.
    EXECUTE format('CREATE OR REPLACE FUNCTION order_load.new_id() RETURNS uuid LANGUAGE sql AS ''SELECT %s()''',
      CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'uuidv7' ELSE 'gen_random_uuid' END);
  END $do$;
  CREATE OR REPLACE FUNCTION order_load.place(i int) RETURNS uuid LANGUAGE plpgsql AS $$
  DECLARE
    id uuid := order_load.new_id();
    buyer text := ${user('i', shape)};
  BEGIN
    INSERT INTO public.orders (order_id, user_id, total_cents) VALUES (id, buyer, 600);
    INSERT INTO public.order_items (order_id, line_no, sku, quantity, unit_price_cents, cart_line_id)
    SELECT id, k, sku, k, 100, CASE WHEN ${namesLines('i')} THEN ${line('buyer', 'sku')} END
    FROM (SELECT k, ${sku('i', 'k', shape)} AS sku FROM generate_series(1, ${shape.itemsPerOrder}) AS k) AS item;
    RETURN id;
  END $$;
  CREATE OR REPLACE PROCEDURE order_load.backlog(count int, first int) LANGUAGE plpgsql AS $$
  BEGIN
    FOR i IN first .. first + count - 1 LOOP
      SET LOCAL synchronous_commit = off;
      PERFORM order_load.place(i);
      COMMIT;
    END LOOP;
  END $$;`;
