// The two tables that the reader publishes, and the columns it needs of them with the types it can read. Any further
// column or table is somebody else's and is left alone.

/** Column → the type names (as format_type prints them) whose text the reader can make an event of. */
export type ContractColumns = Readonly<Record<string, readonly string[]>>;

const TEXT = ['text', 'character varying', 'character'];
const INTEGER = ['smallint', 'integer', 'bigint'];
const ID = ['uuid'];

export const contractSchema = 'public';

export const contractTables: Readonly<Record<'orders' | 'order_items', ContractColumns>> = {
  orders: {
    order_id: ID,
    user_id: TEXT,
    source: TEXT,
    currency: TEXT,
    total_cents: INTEGER,
    placed_at: ['timestamp with time zone'],
  },
  order_items: {
    order_id: ID,
    line_no: INTEGER,
    sku: TEXT,
    quantity: INTEGER,
    unit_price_cents: INTEGER,
    cart_line_id: [...ID, ...TEXT],
  },
};
