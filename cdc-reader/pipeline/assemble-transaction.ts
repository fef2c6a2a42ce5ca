// Turns the message stream into committed database transactions: begin, order rows, item rows, commit → one value from
// which the events of all its orders can be read again and again, in the order in which it first wrote a row of each.
// Guarantees: publish, count, or halt; every change is an order, an item, counted under a named reason, or an error that
// names its position. Memory is bounded: past `spillBytes` the rows move to a temporary file. What a row holds is
// encode-event.ts's; which transactions are published, and when, is left to the pipeline.
import type { Lsn } from '#schemas/lsn.ts';
import {
  type CapturedTables,
  type ContractRelation,
  classifyRelation,
  type RelationRole,
} from '../encode/contract-relation.ts';
import { type EventContext, type EventRecord, encodeEvent } from '../encode/encode-event.ts';
import { groupByOrder, type OrderRows, RowBuffer, readOrderId } from '../encode/row-buffer.ts';
import { SpilledRows } from '../encode/row-spool.ts';
import { dropUnwanted, LARGE_ROW_BYTES } from '../encode/tuple.ts';
import { RowRefusedError, StreamOrderError } from '../errors.ts';
import type { PgoutputMessage } from '../postgres/pgoutput.ts';

type Insert = Extract<PgoutputMessage, { kind: 'insert' }>;

/** Why a change of a published table is not published. */
type IgnoredReason = 'other_table' | 'update' | 'delete' | 'truncate';

/** What an event holds that its transaction does not know. */
export type EventStamp = Omit<EventContext, 'commitLsn' | 'committedAt'>;

/** One database transaction, whole. LSNs as BEGIN and COMMIT gave them; `committedAt` in microseconds since 1970. */
export interface CommittedTransaction {
  readonly xid: number;
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  readonly committedAt: bigint;
  readonly orderCount: number;
  /** Bytes of its rows as they came from Postgres. */
  readonly rowBytes: number;
  orderIds(): Iterable<string>;
  /** Its events by ordinal. @throws as encodeEvent does */
  events(stamp: EventStamp): Iterable<EventRecord>;
  /** For who keeps it while others come: from here on it takes the memory of its rows, and no more. */
  hold(): void;
  /** Releases the rows' memory and the temporary file, if there is one. May be called again. */
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
  readonly xid: number;
  readonly commitLsn: Lsn;
  readonly committedAt: bigint;
  readonly rows: RowBuffer;
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

  /** Of the last transaction, for the next one. */
  let spare: RowBuffer | undefined;
  const reuse = (rows: RowBuffer): void => {
    rows.clear();
    spare = rows;
  };

  const addRow = (transaction: OpenTransaction, relation: ContractRelation, { bytes, start, end }: Insert): void => {
    const { rows } = transaction;
    if (end - start <= LARGE_ROW_BYTES) {
      rows.add(relation, bytes, start, end);
      transaction.rowBytes += end - start;
    } else {
      const tuple = dropUnwanted(bytes.subarray(start, end), relation.wanted);
      rows.add(relation, tuple);
      transaction.rowBytes += tuple.length;
    }
    if (transaction.spilled === undefined && transaction.rowBytes <= options.spillBytes) return;
    transaction.spilled ??= new SpilledRows(options.spillDirectory);
    transaction.spilled.add(rows);
    rows.clear();
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
            xid: message.xid,
            commitLsn: message.commitLsn,
            committedAt: message.committedAt,
            rows: spare ?? new RowBuffer(),
            rowBytes: 0,
            spilled: undefined,
          };
          spare = undefined;
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
          else addRow(open, relation, message);
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
          return new AssembledTransaction(transaction, message.endLsn, reuse);
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

/** A class, and no closures: there is one for each order of a shop. */
class AssembledTransaction implements CommittedTransaction {
  readonly xid: number;
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  readonly committedAt: bigint;
  readonly rowBytes: number;
  readonly orderCount: number;
  #rows: RowBuffer;
  readonly #spilled: SpilledRows | undefined;
  readonly #held: readonly OrderRows[] | undefined;
  readonly #reuse: (rows: RowBuffer) => void;
  /** Its memory is not taken back yet. */
  #isLent = true;
  #isClosed = false;

  /** @param reuse takes the memory of its rows back. */
  constructor(
    { xid, commitLsn, committedAt, rowBytes, rows, spilled }: OpenTransaction,
    endLsn: Lsn,
    reuse: (rows: RowBuffer) => void,
  ) {
    this.xid = xid;
    this.commitLsn = commitLsn;
    this.endLsn = endLsn;
    this.committedAt = committedAt;
    this.rowBytes = rowBytes;
    this.#rows = rows;
    this.#spilled = spilled;
    this.#held = spilled === undefined ? groupByOrder(rows) : undefined;
    this.orderCount = this.#held?.length ?? spilled!.size;
    this.#reuse = reuse;
  }

  *orderIds(): Iterable<string> {
    if (this.#held === undefined) {
      for (const { rows, order } of this.#spilled!.orders()) yield readOrderId(rows, order.first);
    } else {
      for (const { first } of this.#held) yield readOrderId(this.#rows, first);
    }
  }

  *events(stamp: EventStamp): Iterable<EventRecord> {
    const { commitLsn, committedAt } = this;
    const context = { ...stamp, commitLsn, committedAt };
    let ordinal = 0;
    if (this.#held === undefined) {
      for (const { rows, order } of this.#spilled!.orders()) yield encodeEvent(context, ordinal++, rows, order);
    } else {
      for (const order of this.#held) yield encodeEvent(context, ordinal++, this.#rows, order);
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#spilled?.close();
    this.#giveBack();
  }

  hold(): void {
    if (!this.#isLent) return;
    const kept = this.#rows.compact();
    this.#giveBack();
    this.#rows = kept;
  }

  #giveBack(): void {
    if (this.#isLent) this.#reuse(this.#rows);
    this.#isLent = false;
  }
}
