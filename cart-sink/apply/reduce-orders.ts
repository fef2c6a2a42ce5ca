/**
 * Takes orders that are new to the ledger out of the carts: lock, reduce, write. Part of a batch's transaction.
 */
import type { Transaction } from '@databases/pg';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { failpoint } from '#service/failpoint.ts';
import { reduceBatch } from '../rule/reduce-batch.ts';
import type { Rule } from '../rule/reduce-cart.ts';
import { deleteCartLines } from '../sql/delete-cart-lines.ts';
import { insertCartRemovals } from '../sql/insert-cart-removals.ts';
import { reduceCartLines } from '../sql/reduce-cart-lines.ts';
import { lockLines } from './lock-lines.ts';

/** What a batch did to carts. */
export interface CartEffect {
  readonly linesRemoved: number;
  readonly linesReduced: number;
  /** Items of new orders that named a line of another user or SKU. */
  readonly mismatches: number;
  /** Orders whose effect was changed after they had been applied. */
  readonly changed: number;
}

/** `orders` in Kafka's sequence, entered into the ledger by this transaction. */
export async function reduceOrders(tx: Transaction, orders: readonly OrderPlaced[], rule: Rule): Promise<CartEffect> {
  // An order that leaves the cart alone needs no lines: what the rule is not shown, it can't reduce.
  const lines = await lockLines(
    tx,
    orders.filter(({ source }) => source !== 'direct'),
  );
  await failpoint('sink.mid-transaction');
  const { reduced, emptied, removals } = reduceBatch(lines, orders, rule.reduce);
  if (reduced.length > 0) await tx.query(reduceCartLines(reduced));
  if (emptied.length > 0) await tx.query(deleteCartLines(emptied));
  const createdXids = new Map(lines.map(({ lineId, createdXid }) => [lineId, createdXid]));
  const entries = removals.map((row) => ({ ...row, entry: 0, lineCreatedXid: createdXids.get(row.lineId!) ?? null }));
  if (entries.length > 0) await tx.query(insertCartRemovals(entries));
  const mismatches = removals.filter(({ outcome }) => outcome === 'mismatch').length;
  return { linesRemoved: emptied.length, linesReduced: reduced.length, mismatches, changed: 0 };
}
