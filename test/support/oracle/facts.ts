// What the oracle knows before it judges: plain values read from the orders database, Kafka and the carts database.
// Guarantees: carts are read first, then Kafka, then orders, so that whatever a later stage shows must have its cause in
// what is read after it, traffic or not; the slot is read before the checkpoint that must cover it (I7). No judgement here.

import pg from 'pg';
import type { PartitionLog } from './read-topic.ts';

export interface OrderFact {
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
  readonly currency: string;
  readonly totalCents: bigint;
  /** Microseconds since 1970. */
  readonly placedAt: bigint;
  /** The transaction that inserted it. */
  readonly xid: string;
  /** By the server's own record, microseconds since 1970; undefined without track_commit_timestamp. */
  readonly committedAt: bigint | undefined;
  /** Sorted by line number. */
  readonly items: readonly {
    readonly lineNo: number;
    readonly sku: string;
    readonly quantity: number;
    readonly unitPriceCents: bigint;
    readonly cartLineId: string | null;
  }[];
}

interface LedgerFact {
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
  readonly timeline: number;
  readonly commitLsn: bigint;
  readonly ordinal: number;
}

export interface RemovalFact {
  readonly orderId: string;
  readonly lineNo: number;
  readonly lineId: string | null;
  readonly sku: string;
  readonly ordered: number;
  readonly removed: number;
}

export interface LineFact {
  readonly lineId: string;
  readonly userId: string;
  readonly sku: string;
  readonly quantity: number;
}

interface OffsetFact {
  readonly partition: number;
  readonly nextOffset: bigint;
  /** The furthest position applied from the live topic. */
  readonly last: { readonly timeline: number; readonly commitLsn: bigint; readonly ordinal: number } | undefined;
}

/** What the sink stored, for one consumer group and the live topic. */
export interface CartFacts {
  readonly ledger: readonly LedgerFact[];
  readonly removals: readonly RemovalFact[];
  readonly lines: readonly LineFact[];
  readonly offsets: readonly OffsetFact[];
  readonly parked: readonly { readonly partition: number; readonly offset: bigint }[];
}

export interface Facts {
  readonly orders: readonly OrderFact[];
  readonly live: readonly PartitionLog[];
  /** The replay topic; it matters where an operator has accepted a gap. */
  readonly replayed?: readonly PartitionLog[];
  readonly checkpoints: readonly PartitionLog[];
  readonly slotName: string;
  /** Undefined when the slot does not exist. */
  readonly confirmedFlushLsn: bigint | undefined;
  /** Undefined when only the reader is judged. */
  readonly carts: CartFacts | undefined;
}

type Row = Record<string, string | null>;

/** 'X/Y' as a number. */
export function lsnFromText(text: string): bigint {
  const [high, low] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}

/** Runs `use` on a connection of its own on which every value arrives as text. */
export async function withTextClient<T>(url: string, use: (query: TextQuery) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'oracle',
    types: { getTypeParser: () => (value: string | Buffer) => value.toString() } as unknown as pg.CustomTypesConfig,
  });
  // A server that is stopped while this connection is open fails the next query; the event tells nothing more.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(async (sql, values = []) => (await client.query(sql, [...values])).rows as Row[]);
  } finally {
    await client.end();
  }
}

export type TextQuery = (sql: string, values?: readonly unknown[]) => Promise<Row[]>;

/** Reads all committed orders with their items. */
export async function readOrders(url: string): Promise<OrderFact[]> {
  return withTextClient(url, async (query) => {
    await query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const micros = (column: string) => `(extract(epoch FROM ${column}) * 1000000)::bigint`;
    const [tracked] = await query('SHOW track_commit_timestamp');
    const committedAt =
      tracked!.track_commit_timestamp === 'on'
        ? micros('pg_xact_commit_timestamp(placed_xid::text::bigint::text::xid)')
        : 'NULL';
    const orders = await query(`SELECT order_id, user_id, source, currency, total_cents, placed_xid AS xid,
      ${micros('placed_at')} AS placed_at, ${committedAt} AS committed_at FROM orders`);
    const items = new Map<string, OrderFact['items'][number][]>();
    const rows = await query(`SELECT order_id, line_no, sku, quantity, unit_price_cents, cart_line_id
      FROM order_items ORDER BY order_id, line_no`);
    for (const row of rows) {
      const own = items.get(row.order_id!) ?? [];
      own.push({
        lineNo: Number(row.line_no),
        sku: row.sku!,
        quantity: Number(row.quantity),
        unitPriceCents: BigInt(row.unit_price_cents!),
        cartLineId: row.cart_line_id!,
      });
      items.set(row.order_id!, own);
    }
    return orders.map((row) => ({
      orderId: row.order_id!,
      userId: row.user_id!,
      source: row.source!,
      currency: row.currency!,
      totalCents: BigInt(row.total_cents!),
      placedAt: BigInt(row.placed_at!),
      xid: row.xid!,
      committedAt: row.committed_at ? BigInt(row.committed_at) : undefined,
      items: items.get(row.order_id!) ?? [],
    }));
  });
}

/** The slot's confirmed_flush_lsn, undefined when there is no such slot. */
export async function readConfirmedFlush(url: string, slotName: string): Promise<bigint | undefined> {
  const sql = 'SELECT confirmed_flush_lsn AS confirmed FROM pg_replication_slots WHERE slot_name = $1';
  const [slot] = await withTextClient(url, (query) => query(sql, [slotName]));
  return slot?.confirmed ? lsnFromText(slot.confirmed) : undefined;
}

export async function readCartLines(url: string): Promise<LineFact[]> {
  return withTextClient(url, async (query) => (await query(lineSql)).map(parseLine));
}

const lineSql = 'SELECT line_id, user_id, sku, quantity FROM cart_lines';
const parseLine = (row: Row): LineFact => ({
  lineId: row.line_id!,
  userId: row.user_id!,
  sku: row.sku!,
  quantity: Number(row.quantity),
});

/** Reads everything that the sink stored for `consumerGroup` and `topic`, in one snapshot. */
export async function readCarts(url: string, consumerGroup: string, topic: string): Promise<CartFacts> {
  return withTextClient(url, async (query) => {
    await query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const ledger = await query('SELECT order_id, user_id, source, timeline, commit_lsn, ordinal FROM applied_orders');
    const removals = await query('SELECT order_id, line_no, line_id, sku, ordered, removed FROM cart_removals');
    const lines = await query(lineSql);
    const place = [consumerGroup, topic];
    const offsets = await query(
      `SELECT partition, next_offset, last_timeline, last_commit_lsn, last_ordinal FROM consumer_offsets
       WHERE consumer_group = $1 AND topic = $2`,
      place,
    );
    const parked = await query(
      'SELECT partition, "offset" FROM parked_events WHERE consumer_group = $1 AND topic = $2',
      place,
    );
    return {
      ledger: ledger.map((row) => ({
        orderId: row.order_id!,
        userId: row.user_id!,
        source: row.source!,
        timeline: Number(row.timeline),
        commitLsn: lsnFromText(row.commit_lsn!),
        ordinal: Number(row.ordinal),
      })),
      removals: removals.map((row) => ({
        orderId: row.order_id!,
        lineNo: Number(row.line_no),
        lineId: row.line_id!,
        sku: row.sku!,
        ordered: Number(row.ordered),
        removed: Number(row.removed),
      })),
      lines: lines.map(parseLine),
      offsets: offsets.map((row) => ({
        partition: Number(row.partition),
        nextOffset: BigInt(row.next_offset!),
        last:
          row.last_commit_lsn === null
            ? undefined
            : {
                timeline: Number(row.last_timeline),
                commitLsn: lsnFromText(row.last_commit_lsn!),
                ordinal: Number(row.last_ordinal),
              },
      })),
      parked: parked.map((row) => ({ partition: Number(row.partition), offset: BigInt(row.offset!) })),
    };
  });
}
