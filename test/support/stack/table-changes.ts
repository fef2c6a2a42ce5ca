// Ways in which the captured tables are renamed, replaced, moved or bypassed, and the way back. While one of them is in
// place, orders placed under the contract's names go elsewhere, or come under another name.

export interface CaptureChange {
  readonly name: string;
  /** Each text is a transaction. */
  readonly there: readonly string[];
  /** Undefined: it can't be undone. */
  readonly back?: readonly string[];
  /** What the halt names as the cause. */
  readonly says: RegExp;
  /** Places order number $n while the change is there; null: nothing can be placed then. */
  readonly place?: ((n: number) => string) | null;
  /** A start that finds the change waits for this problem, and halts once it is taken back. */
  readonly waitsFor?: string;
  /** Undone, it leaves nothing in the catalogue: the rows that came meanwhile are refused. */
  readonly isToldByRows?: true;
}

export const placeByName = (n: number) => `SELECT order_load.place(${n})`;

const like = (table: string, of: string) => `CREATE TABLE ${table} (LIKE ${of} INCLUDING ALL)`;
const view = (name: string, of: string) => `CREATE VIEW ${name} AS SELECT * FROM ${of}`;
const items = (n: number, columns: string, values: string, table = 'order_items') =>
  `INSERT INTO ${table} (order_id, line_no, sku, quantity, unit_price_cents${columns}) VALUES (md5('kid ${n}')::uuid, 1, 'SKU-1', 1, 100${values})`;
const withRenamedUser = (n: number) => `
  INSERT INTO orders (order_id, buyer, total_cents) VALUES (md5('kid ${n}')::uuid, 'user-1', 600);
  ${items(n, '', '')}`;

const swapNames = (one: string, other: string) =>
  `ALTER TABLE orders RENAME ${one} TO swapped; ALTER TABLE orders RENAME ${other} TO ${one}; ALTER TABLE orders RENAME swapped TO ${other}`;

export const captureChanges: readonly CaptureChange[] = [
  {
    name: 'both tables are swapped for new ones by LIKE',
    there: [
      `ALTER TABLE orders RENAME TO orders_old; ALTER TABLE order_items RENAME TO order_items_old;
       ${like('orders', 'orders_old')}; ${like('order_items', 'order_items_old')}`,
    ],
    back: [
      `DROP TABLE orders, order_items;
       ALTER TABLE orders_old RENAME TO orders; ALTER TABLE order_items_old RENAME TO order_items`,
    ],
    says: /public\.orders/,
  },
  {
    name: 'both tables are renamed, with views of the old names over them',
    there: [
      `ALTER TABLE orders RENAME TO orders_old; ALTER TABLE order_items RENAME TO order_items_old;
       ${view('orders', 'orders_old')}; ${view('order_items', 'order_items_old')}`,
    ],
    back: [
      `DROP VIEW orders, order_items;
       ALTER TABLE orders_old RENAME TO orders; ALTER TABLE order_items_old RENAME TO order_items`,
    ],
    says: /public\.orders/,
  },
  {
    name: 'both tables move to another schema, with views of the old names over them',
    there: [
      `CREATE SCHEMA shop; ALTER TABLE orders SET SCHEMA shop; ALTER TABLE order_items SET SCHEMA shop;
       ${view('orders', 'shop.orders')}; ${view('order_items', 'shop.order_items')}`,
    ],
    back: [
      `DROP VIEW orders, order_items; ALTER TABLE shop.orders SET SCHEMA public;
       ALTER TABLE shop.order_items SET SCHEMA public`,
    ],
    says: /orders/,
  },
  {
    name: 'only orders is swapped',
    there: [`ALTER TABLE orders RENAME TO orders_old; ${like('orders', 'orders_old')}`],
    back: ['DROP TABLE orders; ALTER TABLE orders_old RENAME TO orders'],
    says: /public\.orders/,
  },
  {
    name: 'only order_items is swapped',
    there: [`ALTER TABLE order_items RENAME TO order_items_old; ${like('order_items', 'order_items_old')}`],
    back: ['DROP TABLE order_items; ALTER TABLE order_items_old RENAME TO order_items'],
    says: /public\.order_items/,
  },
  {
    name: 'only orders is renamed, with a view of the old name over it',
    there: [`ALTER TABLE orders RENAME TO orders_old; ${view('orders', 'orders_old')}`],
    back: ['DROP VIEW orders; ALTER TABLE orders_old RENAME TO orders'],
    says: /public\.orders/,
  },
  {
    name: 'only order_items is renamed, with a view of the old name over it',
    there: [`ALTER TABLE order_items RENAME TO order_items_old; ${view('order_items', 'order_items_old')}`],
    back: ['DROP VIEW order_items; ALTER TABLE order_items_old RENAME TO order_items'],
    says: /public\.order_items/,
  },
  {
    name: 'orders is renamed and nothing has its name',
    there: ['ALTER TABLE orders RENAME TO orders_old'],
    back: ['ALTER TABLE orders_old RENAME TO orders'],
    says: /public\.orders/,
    place: null,
  },
  {
    name: 'the schema is renamed, and a new one has new tables',
    there: [
      `ALTER SCHEMA public RENAME TO shop; CREATE SCHEMA public;
       ${like('public.orders', 'shop.orders')}; ${like('public.order_items', 'shop.order_items')}`,
    ],
    back: ['DROP SCHEMA public CASCADE; ALTER SCHEMA shop RENAME TO public'],
    says: /schema public|public\.orders/,
  },
  {
    name: 'the schema is renamed, and a new one has views over the tables',
    there: [
      `ALTER SCHEMA public RENAME TO shop; CREATE SCHEMA public;
       ${view('public.orders', 'shop.orders')}; ${view('public.order_items', 'shop.order_items')}`,
    ],
    back: ['DROP SCHEMA public CASCADE; ALTER SCHEMA shop RENAME TO public'],
    says: /schema public|public\.orders|shop\.orders/,
  },
  {
    name: 'both tables are dropped and made anew by LIKE',
    there: [
      `${like('orders_new', 'orders')}; ${like('order_items_new', 'order_items')}; DROP TABLE orders, order_items;
       ALTER TABLE orders_new RENAME TO orders; ALTER TABLE order_items_new RENAME TO order_items`,
    ],
    says: /public\.orders/,
  },
  {
    name: 'rules have inserts go elsewhere',
    there: [
      `CREATE TABLE aside (LIKE orders); CREATE TABLE aside_items (LIKE order_items);
       CREATE RULE elsewhere AS ON INSERT TO orders DO INSTEAD INSERT INTO aside VALUES (NEW.*);
       CREATE RULE elsewhere AS ON INSERT TO order_items DO INSTEAD INSERT INTO aside_items VALUES (NEW.*)`,
    ],
    back: ['DROP RULE elsewhere ON orders; DROP RULE elsewhere ON order_items'],
    says: /rules/,
  },
  {
    name: 'a rule has inserts do nothing, on the items only',
    there: [
      `ALTER TABLE orders DISABLE TRIGGER orders_have_items;
       CREATE RULE nowhere AS ON INSERT TO order_items DO INSTEAD NOTHING`,
    ],
    back: ['DROP RULE nowhere ON order_items; ALTER TABLE orders ENABLE TRIGGER orders_have_items'],
    says: /rules/,
  },
  {
    name: 'child tables take the rows',
    there: ['CREATE TABLE kid () INHERITS (orders); CREATE TABLE item_kid () INHERITS (order_items)'],
    back: ['ALTER TABLE kid NO INHERIT orders; ALTER TABLE item_kid NO INHERIT order_items'],
    says: /children/,
    place: (n) => `
      INSERT INTO kid (order_id, user_id, total_cents) VALUES (md5('kid ${n}')::uuid, 'user-1', 600);
      ${items(n, '', '', 'item_kid')}`,
    waitsFor: 'TABLE_HAS_CHILDREN',
  },
  {
    name: 'orders becomes a partition',
    there: [
      'CREATE TABLE all_orders (LIKE orders) PARTITION BY RANGE (placed_at); ALTER TABLE all_orders ATTACH PARTITION orders DEFAULT',
    ],
    says: /partition/,
  },
  {
    name: 'placed_at becomes a timestamp without time zone',
    there: ['ALTER TABLE orders ALTER placed_at TYPE timestamp'],
    back: ['ALTER TABLE orders ALTER placed_at TYPE timestamptz'],
    says: /placed_at/,
    isToldByRows: true,
  },
  {
    name: 'user_id is renamed',
    there: ['ALTER TABLE orders RENAME user_id TO buyer'],
    back: ['ALTER TABLE orders RENAME buyer TO user_id'],
    says: /user_id/,
    place: withRenamedUser,
    isToldByRows: true,
  },
  {
    name: 'user_id and status have the names of each other',
    there: [swapNames('user_id', 'status')],
    back: [swapNames('user_id', 'status')],
    says: /user_id/,
    place: (n) => `
      INSERT INTO orders (order_id, user_id, status, total_cents) VALUES (md5('kid ${n}')::uuid, 'placed', 'user-1', 600);
      ${items(n, '', '')}`,
    isToldByRows: true,
  },
  {
    name: 'source becomes a text with blanks behind it',
    there: ['ALTER TABLE orders ALTER source TYPE char(10)'],
    back: ['ALTER TABLE orders ALTER source TYPE text'],
    says: /source/,
    isToldByRows: true,
  },
  {
    name: 'quantity becomes numeric',
    there: ['ALTER TABLE order_items ALTER quantity TYPE numeric'],
    back: ['ALTER TABLE order_items ALTER quantity TYPE integer'],
    says: /quantity/,
    isToldByRows: true,
  },
  {
    name: 'cart_line_id is dropped and added again',
    there: ['ALTER TABLE order_items DROP cart_line_id', 'ALTER TABLE order_items ADD cart_line_id uuid'],
    says: /cart_line_id/,
  },
];
