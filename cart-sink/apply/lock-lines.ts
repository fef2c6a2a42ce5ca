/**
 * Reads the cart lines that orders may reduce, from the carts database.
 *
 * Guarantees (I3): a line of an order's user and SKU is locked when it is read, or is not among the lines; locks are
 * taken by line id. Lines that items name in vain are only read: they tell a mismatch from a line that is gone.
 */
import type { Queryable } from '@databases/pg';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { formatCartKey, type StoredLine } from '../rule/cart-state.ts';
import { type CartLineRow, lockCartLines } from '../sql/lock-cart-lines.ts';
import { readCartLines } from '../sql/read-cart-lines.ts';

export interface WantedLines {
  /** Distinct users and SKUs, by their key. */
  readonly wanted: ReadonlyMap<string, { readonly userId: string; readonly sku: string }>;
  readonly named: ReadonlySet<string>;
}

/** The lines that a rule may look at for these orders. */
export function listWantedLines(orders: readonly OrderPlaced[]): WantedLines {
  const wanted = new Map<string, { userId: string; sku: string }>();
  const named = new Set<string>();
  for (const { userId, items } of orders) {
    for (const { sku, cartLineId } of items) {
      wanted.set(formatCartKey({ userId, sku }), { userId, sku });
      if (cartLineId !== null) named.add(cartLineId);
    }
  }
  return { wanted, named };
}

/** The live lines of the orders' users and SKUs, locked, and those that they name in vain, only read. */
export async function lockLines(tx: Queryable, orders: readonly OrderPlaced[]): Promise<readonly StoredLine[]> {
  const { wanted, named } = listWantedLines(orders);
  if (wanted.size === 0) return [];
  const locked: CartLineRow[] = await tx.query(lockCartLines([...wanted.values()]));
  const lines = locked.map(parseLine);
  // A named line that fits its order is among the locked. The others only tell a mismatch from a line that is gone, so
  // no lock is needed. One of a wanted user and SKU has appeared since, and must not be reduced without a lock.
  return [...lines, ...(await readNamedLines(tx, { wanted, named }, lines))];
}

/** The lines that orders name and that are not of a wanted user and SKU. `known` need not be read. */
export async function readNamedLines(
  tx: Queryable,
  { wanted, named }: WantedLines,
  known: readonly StoredLine[],
): Promise<readonly StoredLine[]> {
  const left = new Set(named);
  for (const { lineId } of known) left.delete(lineId);
  if (left.size === 0) return [];
  const others: CartLineRow[] = await tx.query(readCartLines([...left]));
  return others.map(parseLine).filter((line) => !wanted.has(formatCartKey(line)));
}

export function parseLine(row: CartLineRow): StoredLine {
  return {
    lineId: row.line_id,
    userId: row.user_id,
    sku: row.sku,
    quantity: row.quantity,
    createdXid: row.created_xid,
  };
}
