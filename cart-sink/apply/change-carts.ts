/**
 * Takes the orders of a batch out of the carts: lock the lines, compute, write. Part of the batch's transaction.
 *
 * Guarantees (I3): every line that is reduced is locked, and locks are taken by line id. Each statement begins after
 * the locks before it were granted, so it reads what the lock holders before us wrote. Leaves to rule/: what an order
 * takes; to recompute-carts.ts: orders that were applied before.
 */
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Statements } from '#service/postgres/pipelined-transaction.ts';
import { applyOrders, type Effects, formatCartKey, type RemovalEntry, type StoredLine } from '../rule/cart-state.ts';
import type { Rule } from '../rule/reduce-cart.ts';
import {
  claimCartLines,
  deleteCartLines,
  type LockedLinesRow,
  lockCartLines,
  parseLockedLines,
  readCartLines,
  reduceCartLines,
  type UserSkus,
} from '../sql/cart-lines.ts';
import { insertCartRemovals } from '../sql/cart-removals.ts';

/**
 * Takes out `orders`, which this transaction has inserted into the ledger, in the sequence of Kafka.
 * @param locked for them, and maybe for orders that the ledger had: the rule is shown only lines that concern an order
 */
export async function reduceCarts(
  tx: Statements,
  orders: readonly OrderPlaced[],
  locked: LockedLines,
  rule: Rule,
): Promise<void> {
  // A replay mostly meets orders that the ledger has: nothing need be read for them.
  const others = orders.length === 0 ? [] : await readNamedLines(tx, locked, locked.live);
  const lines = [...locked.live, ...others];
  await failpoint('sink.mid-transaction');
  await writeEffects(tx, lines, (known) => applyOrders(known, orders, rule.reduce));
}

/** A direct order takes nothing. What the rule is not shown, it can't reduce. */
function takesGoods({ source }: OrderPlaced): boolean {
  return source !== 'direct';
}

export interface LockedLines extends WantedLines {
  /** Those of the wanted users and SKUs. */
  readonly live: readonly StoredLine[];
}

/** The live lines of the users and SKUs of orders that take goods, locked by line id. */
export async function lockLiveLines(tx: Statements, orders: readonly OrderPlaced[]): Promise<LockedLines> {
  const { wanted, named } = listWantedLines(orders.filter(takesGoods));
  return { wanted, named, live: await lockWanted(tx, wanted) };
}

export interface WantedLines {
  /** As often as orders name them: a line that is locked twice is locked once, and to tell them apart takes longer. */
  readonly wanted: UserSkus;
  /** Lines that items name. */
  readonly named: ReadonlySet<string>;
}

/** The lines that the rule may be shown for these orders. */
export function listWantedLines(orders: readonly OrderPlaced[]): WantedLines {
  const [userIds, skus]: [string[], string[]] = [[], []];
  const named = new Set<string>();
  for (const { userId, items } of orders) {
    for (const { sku, cartLineId } of items) {
      userIds.push(userId);
      skus.push(sku);
      if (cartLineId !== null) named.add(cartLineId);
    }
  }
  return { wanted: { userIds, skus }, named };
}

async function lockWanted(tx: Statements, wanted: UserSkus): Promise<readonly StoredLine[]> {
  if (wanted.skus.length === 0) return [];
  const [row]: LockedLinesRow[] = await tx.query(lockCartLines(wanted));
  return parseLockedLines(wanted, row!);
}

/** The live lines of the orders' users and SKUs, locked, and the other lines that items name, only read. */
export async function lockLines(tx: Statements, orders: readonly OrderPlaced[]): Promise<readonly StoredLine[]> {
  const wantedLines = listWantedLines(orders);
  const locked = await lockWanted(tx, wantedLines.wanted);
  return [...locked, ...(await readNamedLines(tx, wantedLines, locked))];
}

/**
 * The lines that orders name and that are not of a wanted user and SKU. They only tell a mismatch from a line that is
 * gone, so they need no lock. A line of a wanted user and SKU that was added after `known` was read is left out: it
 * must not be reduced without a lock.
 */
export async function readNamedLines(
  tx: Pick<Statements, 'query'>,
  { wanted, named }: WantedLines,
  known: readonly StoredLine[],
): Promise<readonly StoredLine[]> {
  if (named.size === 0) return [];
  const missing = named.difference(new Set(known.map(({ lineId }) => lineId)));
  if (missing.size === 0) return [];
  const others: StoredLine[] = await tx.query(readCartLines([...missing]));
  const keys = new Set(wanted.skus.map((sku, index) => formatCartKey(wanted.userIds[index]!, sku)));
  return others.filter((line) => !keys.has(formatCartKey(line.userId, line.sku)));
}

/**
 * Computes the effects, sends lines and entries, which leave with the COMMIT, and returns the entries. A line that comes
 * back is claimed before its effect counts: if the user has added the SKU meanwhile, the effects are computed again with
 * that line, now locked. Each repetition locks one more line, which can't vanish, so the loop ends.
 */
export async function writeEffects(
  tx: Statements,
  locked: readonly StoredLine[],
  compute: (lines: readonly StoredLine[]) => Effects,
): Promise<readonly RemovalEntry[]> {
  let known = locked;
  /** What the database holds by now. */
  const stored = new Map<string, number>();
  for (const { lineId, quantity } of locked) stored.set(lineId, quantity);
  for (;;) {
    const { entries: byOrder, lines } = compute(known);
    const emptied = lines.filter(({ lineId, quantity }) => quantity === 0 && stored.delete(lineId));
    if (emptied.length > 0) tx.send(deleteCartLines(emptied.map(({ lineId }) => lineId)));
    const back = lines.filter(({ lineId, quantity }) => quantity > 0 && !stored.has(lineId));
    const rows: StoredLine[] = back.length === 0 ? [] : await tx.query(claimCartLines(back));
    const wanted = new Set(back.map(({ lineId }) => lineId));
    const claimed = rows.filter(({ lineId }) => wanted.has(lineId));
    if (claimed.length < rows.length) {
      const others = rows.filter(({ lineId }) => !wanted.has(lineId));
      known = [...known, ...others];
      for (const { lineId, quantity } of others) stored.set(lineId, quantity);
      if (claimed.length > 0) tx.send(deleteCartLines(claimed.map(({ lineId }) => lineId)));
      continue;
    }
    for (const { lineId, quantity } of claimed) stored.set(lineId, quantity);
    const reduced = lines.filter(({ lineId, quantity }) => quantity > 0 && stored.get(lineId) !== quantity);
    const entries = byOrder.flat();
    if (reduced.length > 0) tx.send(reduceCartLines(reduced));
    if (entries.length > 0) tx.send(insertCartRemovals(entries));
    return entries;
  }
}
