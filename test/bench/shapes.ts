// What an item costs in orders of other shapes: one item or hundreds an order, one order or a thousand a transaction, more
// partitions. Each shape has databases, topic and slot of its own, and as many items; reader and sink drain them one after the
// other, and the oracle compares. The first shape is the measure of the others and comes again at the end: that is the noise.
import { createOrderLoad, fillCarts, type OrderShape } from '../support/load/order-load.ts';
import type { Oracle } from '../support/oracle/oracle.ts';
import { drainReader, prepareReader } from './drain-reader.ts';
import { drainSink } from './drain-sink.ts';
import { type BenchStack, query, runEnvironment } from './stack.ts';

interface Shape {
  readonly itemsPerOrder: number;
  readonly ordersPerTransaction: number;
  readonly partitions: number;
}

export interface ShapeCost extends Shape {
  readonly name: string;
  readonly items: number;
  readonly orders: number;
  /** CPU in µs for an item, the start of the process left out. */
  readonly readerMicros: number;
  readonly sinkMicros: number;
}

const base: Shape = { itemsPerOrder: 3, ordersPerTransaction: 1, partitions: 6 };

export const shapes: Readonly<Record<string, Shape>> = {
  '3 items': base,
  '1 item': { ...base, itemsPerOrder: 1 },
  '30 items': { ...base, itemsPerOrder: 30 },
  '300 items': { ...base, itemsPerOrder: 300 },
  '10 orders a transaction': { ...base, ordersPerTransaction: 10 },
  '1,000 orders a transaction': { ...base, ordersPerTransaction: 1_000 },
  '48 partitions': { ...base, partitions: 48 },
  '3 items, again': base,
};

const users = 5_000;
/** Of one statement that fills carts. */
const filledAtOnce = 100_000;

/** @param items of each shape */
export async function measureShape(
  stack: BenchStack,
  name: string,
  items: number,
  check: (env: Record<string, string>) => Promise<Pick<Oracle, 'openCarts'> & { requireClean(): Promise<void> }>,
): Promise<ShapeCost> {
  const shape = shapes[name]!;
  const { itemsPerOrder, ordersPerTransaction, partitions } = shape;
  const orders = Math.ceil(items / itemsPerOrder / ordersPerTransaction) * ordersPerTransaction;
  const key = `shape${Object.keys(shapes).indexOf(name)}`;
  const ordersUrl = await stack.createOrders(`orders_${key}`);
  const cartsUrl = await stack.createCarts(`carts_${key}`);
  const env = { ...runEnvironment(stack, key, cartsUrl), ORDER_DATABASE_URL: ordersUrl };
  await prepareReader(stack, env, partitions);
  const load: OrderShape = { users, itemsPerOrder, skusPerUser: Math.max(30, itemsPerOrder) };
  await placeOrders(ordersUrl, load, orders, ordersPerTransaction);
  for (const statement of ['CHECKPOINT', 'VACUUM ANALYZE']) await query(ordersUrl, statement);
  const reader = await drainReader(stack, env, orders);
  const portion = Math.ceil(filledAtOnce / itemsPerOrder);
  for (let first = 0; first < orders; first += portion) {
    await fillCarts({ cartsUrl, first, count: Math.min(portion, orders - first), shape: load });
  }
  await query(cartsUrl, 'VACUUM ANALYZE');
  const oracle = await check(env);
  await oracle.openCarts();
  const sink = await drainSink(stack, env, orders);
  await oracle.requireClean();
  const micros = (seconds: number) => (seconds * 1e6) / (orders * itemsPerOrder);
  const costs = { readerMicros: micros(reader.cpuSeconds), sinkMicros: micros(sink.cpuSeconds) };
  return { name, ...shape, orders, items: orders * itemsPerOrder, ...costs };
}

async function placeOrders(ordersUrl: string, shape: OrderShape, orders: number, together: number): Promise<void> {
  const load = await createOrderLoad({ ordersUrl, shape });
  try {
    if (together === 1) await load.backlog({ first: 0, count: orders });
    for (let first = 0; together > 1 && first < orders; first += together) {
      await load.insertTogether({ first, count: together });
    }
  } finally {
    await load.close();
  }
}
