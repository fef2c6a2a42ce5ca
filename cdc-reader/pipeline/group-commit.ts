// Groups whole database transactions into Kafka transactions while the one before is in flight: at rest a single order
// leaves at once, under load groups grow by themselves up to a bound of orders and bytes. Guarantees: a transaction is
// never split between groups, groups leave in commit order, and one that asks for it is a group alone. Pure; when to
// take a group, and pausing the stream while this is full, is the pipeline's.
import { type Lsn, maxLsn } from '#schemas/lsn.ts';

/** One database transaction on its way: how much it is, and where the stream stands behind it. */
export interface Groupable {
  readonly orders: number;
  readonly bytes: number;
  readonly endLsn: Lsn;
  /** Must have a group for itself: it is above the bounds, or part of it was published before. */
  readonly isAlone: boolean;
}

export interface Group<T extends Groupable> {
  readonly transactions: readonly T[];
  readonly orders: number;
  readonly bytes: number;
  /** The end LSN of the last one, or further where only transactions without orders followed. */
  readonly throughLsn: Lsn;
}

interface OpenGroup<T> {
  transactions: T[];
  orders: number;
  bytes: number;
  throughLsn: Lsn;
}

export interface GroupCommit<T extends Groupable> {
  add(transaction: T): void;
  /** The stream has passed a transaction without orders. Only moves what waits; see `isEmpty` for when nothing does. */
  advance(endLsn: Lsn): void;
  take(): Group<T> | undefined;
  readonly isEmpty: boolean;
  /** The transaction that has waited longest. */
  readonly oldest: T | undefined;
  /** Whether the stream should be paused: as much waits as the next two groups may hold. */
  readonly isFull: boolean;
  readonly bytes: number;
}

/** @param bounds how many orders and bytes one group may hold, unless it is a single transaction. */
export function createGroupCommit<T extends Groupable>(bounds: {
  maxOrders: number;
  maxBytes: number;
}): GroupCommit<T> {
  const groups: OpenGroup<T>[] = [];
  let bytes = 0;

  const fits = (group: OpenGroup<T>, transaction: T): boolean =>
    !transaction.isAlone &&
    !group.transactions.at(-1)!.isAlone &&
    group.orders + transaction.orders <= bounds.maxOrders &&
    group.bytes + transaction.bytes <= bounds.maxBytes;

  return {
    add(transaction) {
      bytes += transaction.bytes;
      const last = groups.at(-1);
      if (last !== undefined && fits(last, transaction)) {
        last.transactions.push(transaction);
        last.orders += transaction.orders;
        last.bytes += transaction.bytes;
        last.throughLsn = transaction.endLsn;
        return;
      }
      groups.push({
        transactions: [transaction],
        orders: transaction.orders,
        bytes: transaction.bytes,
        throughLsn: transaction.endLsn,
      });
    },
    advance(endLsn) {
      const last = groups.at(-1);
      if (last !== undefined) last.throughLsn = maxLsn(last.throughLsn, endLsn);
    },
    take() {
      const group = groups.shift();
      if (group !== undefined) bytes -= group.bytes;
      return group;
    },
    get isEmpty() {
      return groups.length === 0;
    },
    get oldest() {
      return groups[0]?.transactions[0];
    },
    get isFull() {
      return groups.length > 2 || bytes >= 2 * bounds.maxBytes;
    },
    get bytes() {
      return bytes;
    },
  };
}
