// Turns the message stream into committed database transactions: begin, order rows, item rows, commit → one value from
// which the events of all its orders can be read again and again, in the order in which it first wrote a row of each.
// Guarantees: publish, count, or halt; every change is an order, an item, counted under a named reason, or an error that
// names its position. Memory is bounded: past `spillBytes` the rows move to a temporary file. What a row holds is
// order-event.ts's; which transactions are published, and when, is left to the pipeline.
import type { ContractRow } from '#schemas/contract-tables.ts';
import type { Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { RowRefusedError, StreamOrderError } from '../errors.ts';
import type { PgoutputMessage } from '../postgres/pgoutput.ts';
import {
  buildOrderPlaced,
  type CapturedOids,
  type ContractRelation,
  classifyRelation,
  type RelationRole,
  readItem,
  readOrder,
} from './order-event.ts';
import { OrderIndex } from './order-index.ts';
import { RowSpool } from './row-spool.ts';
import { ItemWithoutOrderError, OrderWithoutItemsError } from './unpublishable-errors.ts';

/** Why a change of a published table is not published. */
export type IgnoredReason = 'other_table' | 'update' | 'delete' | 'truncate';

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
  /** Lets go of the temporary file, if there is one. */
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
  spilled: Spilled | undefined;
}

/** A row keeps the shape its table had when it was written: one transaction may hold an ALTER TABLE. */
interface HeldRow {
  readonly relation: ContractRelation;
  readonly tuple: Buffer;
}

interface Spilled {
  readonly spool: RowSpool;
  readonly index: OrderIndex;
  /** A row's tag in the spool is its relation's place here. */
  readonly relations: ContractRelation[];
}

/** An order as far as its rows have come: one statement may write its items first. */
interface OrderRows {
  order: ContractRow<'orders'> | undefined;
  readonly items: ContractRow<'order_items'>[];
}

/**
 * @param options.spillBytes how many bytes of rows one transaction may hold in memory.
 * @param options.spillDirectory where the temporary file is made.
 * @param options.captured a row of a table that only looks like one of these is a RowRefusedError.
 * @param options.onIgnored is told of each change that is not published.
 */
export function createTransactionAssembler(options: {
  spillBytes: number;
  spillDirectory: string;
  /** The tables whose rows are orders and items. */
  captured: CapturedOids;
  onIgnored: (reason: IgnoredReason) => void;
}): TransactionAssembler {
  const relations = new Map<number, RelationRole>();
  let open: OpenTransaction | undefined;

  const addRow = (transaction: OpenTransaction, row: HeldRow): void => {
    transaction.rowBytes += row.tuple.length;
    if (transaction.spilled !== undefined) {
      spill(transaction.spilled, row);
      return;
    }
    transaction.rows.push(row);
    if (transaction.rowBytes <= options.spillBytes) return;
    const spilled = { spool: new RowSpool(options.spillDirectory), index: new OrderIndex(), relations: [] };
    transaction.spilled = spilled;
    for (const held of transaction.rows.splice(0)) spill(spilled, held);
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
          else addRow(open, { relation, tuple: message.tuple });
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
      open?.spilled?.spool.close();
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
    orderCount: held?.size ?? spilled!.index.size,
    *events(stamp) {
      const context = { ...stamp, commitLsn, committedAt };
      let ordinal = 0;
      for (const { order, items } of held?.values() ?? readSpilled(spilled!)) {
        if (order === undefined) throw new ItemWithoutOrderError(commitLsn);
        if (items.length === 0) throw new OrderWithoutItemsError(commitLsn, ordinal);
        yield buildOrderPlaced(context, ordinal, order, items);
        ordinal += 1;
      }
    },
    close: () => spilled?.spool.close(),
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

function spill({ spool, index, relations }: Spilled, { relation, tuple }: HeldRow): void {
  let tag = relations.indexOf(relation);
  if (tag < 0) tag = relations.push(relation) - 1;
  if (relation.kind === 'orders') spool.addOrder(index.add(readOrder(tuple, relation).order_id!), { tag, tuple });
  else spool.addItem(index.add(readItem(tuple, relation).order_id!), { tag, tuple });
}

function* readSpilled({ spool, relations }: Spilled): Generator<OrderRows> {
  for (const { order, items } of spool.orders()) {
    yield {
      order: order && readOrder(order.tuple, relations[order.tag]!),
      items: items.map((item) => readItem(item.tuple, relations[item.tag]!)),
    };
  }
}
