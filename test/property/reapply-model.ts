// A carts database in memory for properties of replays: cart edits, batches of orders and replays under any rule, with
// transaction ids and snapshots as Postgres gives them. What it computes with is the sink's own: applyOrders for live
// orders and repairs, reapplyOrders for reapplies. Line ids follow from the operation that makes the line, so that two
// worlds under two rules name the same line alike.

import { applyOrders, createCartState, formatCartKey, type StoredLine } from '../../cart-sink/rule/cart-state.ts';
import { type AppliedOrder, reapplyOrders } from '../../cart-sink/rule/reapply.ts';
import type { Rule } from '../../cart-sink/rule/reduce-cart.ts';
import type { OrderPlaced } from '../../schemas/order-placed.ts';

type Reduce = Rule['reduce'];

export interface World {
  add(lineId: string, userId: string, sku: string, quantity: number): void;
  edit(userId: string, sku: string, quantity: number): void;
  remove(userId: string, sku: string): void;
  /** Applies what the ledger lacks. `race` runs after the snapshot was taken and before the lines are read. */
  apply(orders: readonly OrderPlaced[], reduce: Reduce, race?: () => void): void;
  reapply(orders: readonly OrderPlaced[], reduce: Reduce): void;
  quantity(userId: string, sku: string): number;
  /** Everything, for comparison: lines with their ids and ages, and all entries. */
  state(): unknown;
  /** What users added, less what they took out themselves. */
  broughtIn(): number;
}

export function createWorld(): World {
  const lines = new Map<string, StoredLine>();
  const ledger = new Map<string, AppliedOrder>();
  let nextXid = 100;
  let brought = 0;
  const find = (userId: string, sku: string) => lines.get(formatCartKey(userId, sku));
  const put = (line: StoredLine) => {
    const key = formatCartKey(line.userId, line.sku);
    if (line.quantity > 0) lines.set(key, line);
    else if (lines.get(key)?.lineId === line.lineId) lines.delete(key);
  };
  const takeXid = () => {
    nextXid += 1;
    return String(nextXid - 1);
  };
  const world: World = {
    add(lineId, userId, sku, quantity) {
      const xid = takeXid();
      const line = find(userId, sku) ?? { lineId, userId, sku, quantity: 0, createdXid: xid };
      put({ ...line, quantity: line.quantity + quantity });
      brought += quantity;
    },
    edit(userId, sku, quantity) {
      const line = find(userId, sku);
      if (line === undefined) return;
      takeXid();
      brought += quantity - line.quantity;
      put({ ...line, quantity });
    },
    remove: (userId, sku) => world.edit(userId, sku, 0),
    apply(orders, reduce, race) {
      const fresh = orders.filter(({ orderId }) => !ledger.has(orderId));
      const own = takeXid();
      const snapshot = `${own}:${nextXid}:${own}`;
      race?.();
      const { entries, lines: changed } = applyOrders([...lines.values()], fresh, reduce);
      for (const line of changed) put(line);
      for (const [index, { orderId }] of fresh.entries()) ledger.set(orderId, { snapshot, removals: entries[index]! });
    },
    reapply(orders, reduce) {
      const own = takeXid();
      const snapshot = `${own}:${nextXid}:${own}`;
      const inputs = orders.map((order) => ({ order, applied: ledger.get(order.orderId) }));
      const { entries, lines: changed } = reapplyOrders([...lines.values()], inputs, reduce);
      for (const line of changed.toSorted((a, b) => Math.sign(a.quantity) - Math.sign(b.quantity))) put(line);
      for (const [index, { order, applied }] of inputs.entries()) {
        const before = ledger.get(order.orderId);
        ledger.set(order.orderId, {
          snapshot: applied?.snapshot ?? before?.snapshot ?? snapshot,
          removals: [...(before?.removals ?? []), ...entries[index]!],
        });
      }
      // The fold's own view of the lines agrees with the stored ones, one live line for a user and SKU.
      createCartState([...lines.values()]);
    },
    quantity: (userId, sku) => find(userId, sku)?.quantity ?? 0,
    state: () => ({
      lines: [...lines.values()].toSorted((a, b) => (a.lineId < b.lineId ? -1 : 1)),
      ledger: [...ledger],
    }),
    broughtIn: () => brought,
  };
  return world;
}
