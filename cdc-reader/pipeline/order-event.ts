// From the contract's two tables to the record in Kafka: which relations hold orders and items, their rows as text, the
// OrderPlaced event of one order, and its record. One builder serves the stream and the initial snapshot, so both publish
// the same bytes for the same order. Guarantees: a row counts only if its relation has the captured table's oid, name and
// schema, and readable contract columns (I1); where some of that differs, it is refused. No digit is lost (64-bit values
// stay bigint, microseconds are kept); a row that can't become a valid event is an error that names the column.
import type { OutgoingRecord } from '#kafka/protocol/record.ts';
import type { CapturedTable } from '#schemas/capture-fingerprint.ts';
import { encodeOrderPlaced } from '#schemas/codec.ts';
import {
  type ContractRow,
  type ContractTable,
  contractSchema,
  contractTableNames,
  contractTables,
  isReadable,
} from '#schemas/contract-tables.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced, OrderPlacedItem } from '#schemas/order-placed.ts';
import { orderPartition } from '#schemas/partition.ts';
import type { PgoutputMessage } from '../postgres/pgoutput.ts';
import { decodeTuple } from '../postgres/tuple.ts';
import { RowNotPublishableError } from './unpublishable-errors.ts';

/** Where one of the two tables has the contract's columns: contract column → index in the tuple. */
export interface ContractRelation {
  readonly kind: 'orders' | 'items';
  readonly columns: number;
  /** Of each column of the tuple, whether it is of the contract; the others are never decoded. */
  readonly wanted: readonly boolean[];
  readonly at: readonly (readonly [column: string, index: number])[];
}

/** The captured tables, as the fingerprint has them. */
export type CapturedTables = Readonly<Record<ContractTable, CapturedTable>>;

/** What the rows of a relation are; the first row of a refused one halts the reader with `what`. */
export type RelationRole = ContractRelation | 'other' | { readonly kind: 'refused'; readonly what: string };

type Relation = Extract<PgoutputMessage, { kind: 'relation' }>;

export function classifyRelation(relation: Relation, captured: CapturedTables): RelationRole {
  const { relationOid, schema, name } = relation;
  const byOid = contractTableNames.find((table) => captured[table].oid === relationOid);
  const byName = schema === contractSchema ? contractTableNames.find((table) => table === name) : undefined;
  if (byOid === undefined && byName === undefined) return 'other';
  const refuse = (what: string) => ({ kind: 'refused', what }) as const;
  if (byOid !== byName) {
    const row = `a row of ${schema}.${name} (oid ${relationOid})`;
    return refuse(
      byOid === undefined
        ? `${row}, but the captured table of that name has oid ${captured[byName!].oid}`
        : `${row}, which is the captured table ${contractSchema}.${byOid} under another name`,
    );
  }
  const table = byOid!;
  const at: [column: string, index: number][] = [];
  for (const [column, types] of Object.entries(contractTables[table])) {
    const index = relation.columns.findIndex((one) => one.name === column);
    if (index < 0) return refuse(`a row of ${schema}.${table} without the column ${column}`);
    if (!isReadable(table, column, relation.columns[index]!.typeOid)) {
      const names = types.map((type) => type.name).join(' or ');
      return refuse(`a row of ${schema}.${table} whose column ${column} was not ${names}`);
    }
    at.push([column, index]);
  }
  // Two columns of one type whose names were swapped hold each other's values.
  const known = captured[table].columns;
  const found = at
    .toSorted(([, one], [, other]) => one - other)
    .flatMap(([column]) => (known.includes(column) ? column : []));
  const recorded = known.filter((column) => found.includes(column));
  if (found.join() !== recorded.join()) {
    return refuse(
      `a row of ${schema}.${table} with its columns in the order ${found.join(', ')}, captured as ${recorded.join(', ')}`,
    );
  }
  const wanted = relation.columns.map((_, index) => at.some(([, wantedIndex]) => wantedIndex === index));
  return { kind: table === 'orders' ? 'orders' : 'items', columns: relation.columns.length, wanted, at };
}

export function readOrder(tuple: Buffer, relation: ContractRelation): ContractRow<'orders'> {
  return readColumns(tuple, relation) as ContractRow<'orders'>;
}

export function readItem(tuple: Buffer, relation: ContractRelation): ContractRow<'order_items'> {
  return readColumns(tuple, relation) as ContractRow<'order_items'>;
}

/** Always in the same order of columns: V8 gives all rows of a table one hidden class. */
function readColumns(tuple: Buffer, { columns, wanted, at }: ContractRelation): Record<string, string | null> {
  const values = decodeTuple(tuple, columns, wanted);
  const row: Record<string, string | null> = {};
  for (const [column, index] of at) row[column] = values[index] ?? null;
  return row;
}

/** What all events of one database transaction share. `committedAt` is microseconds since 1970. */
export interface TransactionContext {
  readonly generation: number;
  readonly timeline: number;
  readonly commitLsn: Lsn;
  readonly committedAt: bigint;
}

/**
 * Builds the event of one order; items are put in order of `line_no`.
 * @throws RowNotPublishableError when a value can't be represented (the database's CHECKs make that impossible for
 * tables made by order-api's migrations).
 */
export function buildOrderPlaced(
  context: TransactionContext,
  ordinal: number,
  order: ContractRow<'orders'>,
  items: readonly ContractRow<'order_items'>[],
): OrderPlaced {
  const eventItems: OrderPlacedItem[] = new Array(items.length);
  for (let i = 0; i < items.length; i++) {
    const item = items[i]!;
    eventItems[i] = {
      lineNo: parseInteger(item.line_no, 'order_items.line_no'),
      sku: item.sku!,
      quantity: parseInteger(item.quantity, 'order_items.quantity'),
      unitPriceCents: parseBigint(item.unit_price_cents, 'order_items.unit_price_cents'),
      cartLineId: item.cart_line_id,
    };
  }
  eventItems.sort((a, b) => a.lineNo - b.lineNo);
  return {
    generation: context.generation,
    timeline: context.timeline,
    commitLsn: context.commitLsn,
    ordinal,
    committedAt: context.committedAt,
    orderId: order.order_id!,
    userId: order.user_id!,
    source: order.source!,
    currency: order.currency!,
    totalCents: parseBigint(order.total_cents, 'orders.total_cents'),
    placedAt: parseTimestampMicros(order.placed_at),
    items: eventItems,
  };
}

function parseInteger(value: string | null, column: string): number {
  const parsed = Number(value);
  if (!Number.isSafeInteger(parsed) || value === '' || value === null)
    throw new RowNotPublishableError(column, 'holds something that is not an integer');
  return parsed;
}

function parseBigint(value: string | null, column: string): bigint {
  if (value === null || !/^-?\d+$/.test(value))
    throw new RowNotPublishableError(column, 'holds something that is not an integer');
  return BigInt(value);
}

const TIMESTAMP = /^(\d{4,6})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\+00$/;

/**
 * Microseconds since 1970 of a `timestamptz` as a session with DateStyle ISO and TimeZone UTC prints it.
 * @throws RowNotPublishableError for `infinity`, years before Christ, and other offsets than +00.
 */
export function parseTimestampMicros(value: string | null): bigint {
  const match = TIMESTAMP.exec(value ?? '');
  if (match === null)
    throw new RowNotPublishableError('orders.placed_at', 'holds something that is not a finite UTC timestamp');
  const [, year, month, day, hours, minutes, seconds, fraction = ''] = match;
  const atMs = Date.UTC(+year!, +month! - 1, +day!, +hours!, +minutes!, +seconds!);
  return BigInt(atMs) * 1000n + BigInt(fraction.padEnd(6, '0'));
}

/** An event as a Kafka record, with what the checkpoint needs of it. */
export interface EventRecord extends OutgoingRecord {
  readonly orderId: string;
  readonly ordinal: number;
}

/** Key and partition follow from the user, so that a user's orders stay in order in one partition (I4). */
export function eventRecord(topic: string, partitions: number, event: OrderPlaced): EventRecord {
  const { userId, orderId, ordinal } = event;
  try {
    const value = encodeOrderPlaced(event);
    return { topic, partition: orderPartition(userId, partitions), key: userId, value, orderId, ordinal };
  } catch (cause) {
    const order = `Order ${orderId} at ${formatLsn(event.commitLsn)}:${ordinal}`;
    throw new RowNotPublishableError(order, `can't be encoded: ${(cause as Error).message}`, { cause });
  }
}
