// Turns the message stream into committed database transactions: begin, order rows, item rows, commit → one value from
// which the events of all its orders can be read again and again, in the order in which it first wrote a row of each.
// Guarantees: publish, count, or halt; every change is an order, an item, counted under a named reason, or an error that
// names its position. Memory is bounded: past `spillBytes` the rows move to a temporary file. What a row holds is
// order-event.ts's; which transactions are published, and when, is left to the pipeline.
import type { Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { RowRefusedError, StreamOrderError } from '../errors.ts';
import type { PgoutputMessage } from '../postgres/pgoutput.ts';
import { dropUnwanted } from '../postgres/tuple.ts';
import {
  buildOrderPlaced,
  type CapturedTables,
  classifyRelation,
  type RelationRole,
  readItem,
  readOrder,
} from './order-event.ts';
import { type HeldRow, type OrderRows, SpilledRows } from './row-spool.ts';
import { ItemWithoutOrderError, OrderWithoutItemsError } from './unpublishable-errors.ts';

/** Why a change of a published table is not published. */
type IgnoredReason = 'other_table' | 'update' | 'delete' | 'truncate';

/** One database transaction, whole. LSNs as BEGIN and COMMIT gave them; `committedAt` in microseconds since 1970. */
export interface CommittedTransaction {
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  readonly committedAt: bigint;
  readonly orderCount: number;
  /** Bytes of its rows as they came from Postgres. */
  readonly rowBytes: number;
  /** Its events by ordinal. @throws OrderWithoutItemsError, RowNotPublishableError */
  events(stamp: { generation: number; timeline: number }): Iterable<OrderPlaced>;
  /** Closes the temporary file, if there is one. */
  close(): void;
}

export interface TransactionAssembler {
  /** Takes the next message; gives the transaction when it was its COMMIT. */
  accept(message: PgoutputMessage): CommittedTransaction | undefined;
  /** Whether a transaction has begun and not yet committed in the stream. */
  readonly isInTransaction: boolean;
  close(): void;
}

interface OpenTransaction {
  readonly commitLsn: Lsn;
  readonly committedAt: bigint;
  readonly rows: HeldRow[];
  rowBytes: number;
  spilled: SpilledRows | undefined;
}

/**
 * @param options.spillBytes how many bytes of rows one transaction may hold in memory.
 * @param options.spillDirectory where the temporary file is made.
 * @param options.captured the tables whose rows are orders and items; a row that only seems to be is a RowRefusedError.
 * @param options.onIgnored called with each change that is not published.
 */
export function createTransactionAssembler(options: {
  spillBytes: number;
  spillDirectory: string;
  captured: CapturedTables;
  onIgnored: (reason: IgnoredReason) => void;
}): TransactionAssembler {
  const relations = new Map<number, RelationRole>();
  let open: OpenTransaction | undefined;

  const addRow = (transaction: OpenTransaction, row: HeldRow): void => {
    transaction.rowBytes += row.tuple.length;
    if (transaction.spilled !== undefined) {
      transaction.spilled.add(row);
      return;
    }
    transaction.rows.push(row);
    if (transaction.rowBytes <= options.spillBytes) return;
    transaction.spilled = new SpilledRows(options.spillDirectory);
    for (const held of transaction.rows.splice(0)) transaction.spilled.add(held);
  };

  return {
    get isInTransaction() {
      return open !== undefined;
    },
    accept(message) {
      switch (message.kind) {
        case 'begin':
          if (open !== undefined) throw new StreamOrderError('BEGIN came inside a transaction');
          open = {
            commitLsn: message.commitLsn,
            committedAt: message.committedAt,
            rows: [],
            rowBytes: 0,
            spilled: undefined,
          };
          return undefined;
        case 'relation':
          relations.set(message.relationOid, classifyRelation(message, options.captured));
          return undefined;
        case 'insert': {
          const relation = relations.get(message.relationOid);
          if (open === undefined || relation === undefined) {
            throw new StreamOrderError('a row came outside a transaction or before its RELATION message');
          }
          if (relation === 'other') options.onIgnored('other_table');
          else if (relation.kind === 'refused') throw new RowRefusedError(relation.what, open.commitLsn);
          else addRow(open, { relation, tuple: dropUnwanted(message.tuple, relation.wanted) });
          return undefined;
        }
        case 'update':
        case 'delete':
        case 'truncate':
          options.onIgnored(message.kind);
          return undefined;
        case 'commit': {
          if (open === undefined) throw new StreamOrderError('COMMIT came outside a transaction');
          const transaction = open;
          open = undefined;
          return finishTransaction(transaction, message.endLsn);
        }
        default: // type, origin and message carry no rows
          return undefined;
      }
    },
    close() {
      open?.spilled?.close();
      open = undefined;
    },
  };
}

function finishTransaction(transaction: OpenTransaction, endLsn: Lsn): CommittedTransaction {
  const { commitLsn, committedAt, rowBytes, spilled } = transaction;
  const held = spilled === undefined ? groupByOrder(transaction) : undefined;
  return {
    commitLsn,
    endLsn,
    committedAt,
    rowBytes,
    orderCount: held?.size ?? spilled!.size,
    *events(stamp) {
      const context = { ...stamp, commitLsn, committedAt };
      let ordinal = 0;
      for (const { order, items } of held?.values() ?? spilled!.orders()) {
        if (order === undefined) throw new ItemWithoutOrderError(commitLsn);
        if (items.length === 0) throw new OrderWithoutItemsError(commitLsn, ordinal);
        yield buildOrderPlaced(context, ordinal, order, items);
        ordinal += 1;
      }
    },
    close: () => spilled?.close(),
  };
}

function groupByOrder(transaction: OpenTransaction): Map<string, OrderRows> {
  const orders = new Map<string, OrderRows>();
  const rowsOf = (orderId: string): OrderRows => {
    const known = orders.get(orderId);
    if (known !== undefined) return known;
    const rows: OrderRows = { order: undefined, items: [] };
    orders.set(orderId, rows);
    return rows;
  };
  for (const { relation, tuple } of transaction.rows) {
    if (relation.kind === 'orders') {
      const order = readOrder(tuple, relation);
      rowsOf(order.order_id!).order = order;
    } else {
      const item = readItem(tuple, relation);
      rowsOf(item.order_id!).items.push(item);
    }
  }
  return orders;
}
