// The halts over a transaction that can't be published. Each is made as a program would that writes past missing constraints.

import { setTopic } from './reader-halts.ts';
import { type HaltCase, type World, whileReaderIsDown } from './row.ts';

const order = (columns = '', values = '') =>
  `INSERT INTO orders (order_id, user_id, total_cents${columns}) VALUES (md5('bad')::uuid, 'user-1', 600${values})`;
const item = `INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
  VALUES (md5('bad')::uuid, 1, 'SKU-none', 1, 600)`;

/** One transaction that the tables would refuse, between good ones. */
const around = (allow: string, statements: string) =>
  whileReaderIsDown(async ({ stage, place }) => {
    await place();
    await stage.orders(`${allow}; BEGIN; ${statements}; COMMIT`);
    await place();
  });

/** As the message asks: the rows corrected, past the triggers that keep orders as they are. */
const correct =
  (statements: string) =>
  ({ stage }: World) =>
    stage.orders(`BEGIN; SET LOCAL session_replication_role = replica; ${statements}; COMMIT`);

export const rowHalts: readonly HaltCase[] = [
  {
    code: 'ORDER_WITHOUT_ITEMS',
    fault: around('ALTER TABLE orders DISABLE TRIGGER orders_have_items', order()),
    before: correct(`DELETE FROM orders WHERE order_id = md5('bad')::uuid`),
  },
  {
    code: 'ITEM_WITHOUT_ORDER',
    fault: around('ALTER TABLE order_items DISABLE TRIGGER ALL', item),
    before: correct(`DELETE FROM order_items WHERE order_id = md5('bad')::uuid`),
  },
  {
    code: 'ROW_NOT_PUBLISHABLE',
    fault: around(
      'ALTER TABLE orders DROP CONSTRAINT orders_placed_at_in_range',
      `${order(', placed_at', ", 'infinity'")}; ${item}`,
    ),
    before: correct(`UPDATE orders SET placed_at = now() WHERE order_id = md5('bad')::uuid`),
  },
  {
    code: 'EVENT_TOO_LARGE',
    fault: whileReaderIsDown(async (world) => {
      await setTopic(world, world.stage.environment.env.ORDERS_TOPIC, 'max.message.bytes', '300');
      await world.place();
    }),
  },
];
