// Holds the rows of one huge transaction outside the heap and returns them grouped by order. Rows are put into
// buckets of consecutive ordinals; a bucket's bytes collect in memory and move to a temporary file that was unlinked
// right after it was opened, so a crash leaves nothing behind. Guarantees: every row comes back once, in insertion
// order within its order; memory is one small buffer a bucket, plus one bucket at a time while reading back.
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ContractRelation } from './contract-relation.ts';
import { OrderIndex } from './order-index.ts';
import { groupByOrder, type OrderRows, RowBuffer, readOrderId } from './row-buffer.ts';

/** Orders a bucket: with four rows of ~120 bytes each, about 4 MB are read back at a time. */
const ORDERS_PER_BUCKET = 8192;
/** A bucket's buffer: a transaction of 1,000,000 orders has 123 buckets, so at most 4 MB are held before the file. */
const BUFFER_BYTES = 32 * 1024;
/** kind (1), ordinal (4), tag (4), length (4) */
const HEADER_BYTES = 13;
const ORDER_ROW = 0;
const ITEM_ROW = 1;

/** A raw tuple and the tag it was added with (the caller's: which shape of its table the tuple has). */
interface SpooledRow {
  readonly tag: number;
  readonly tuple: Buffer;
}

/** The rows of one order, as they were added; `order` is undefined when only items came. */
interface SpooledOrder {
  readonly order: SpooledRow | undefined;
  readonly items: readonly SpooledRow[];
}

/** The system can't keep the rows. `code` is the system's (ENOSPC), by which a full disk waits for a person. */
class SpillError extends Error {
  readonly code: string;

  constructor(directory: string, cause: NodeJS.ErrnoException) {
    super(
      `The rows of a database transaction larger than SPILL_BYTES can't be kept in SPILL_DIRECTORY (${directory}): ` +
        `${cause.message}. Free space there, or set SPILL_DIRECTORY to a directory that can be written to, on a larger disk.`,
      { cause },
    );
    this.code = cause.code ?? 'SPILL_FAILED';
    this.name = 'SpillError';
  }
}

interface Bucket {
  buffer: Buffer | undefined;
  used: number;
  readonly extents: { offset: number; bytes: number }[];
}

export class RowSpool {
  readonly #directory: string;
  readonly #file: number;
  readonly #buckets: Bucket[] = [];
  #fileBytes = 0;
  #isClosed = false;

  /** @param directory where the temporary file lives for the moment before it is unlinked. @throws SpillError */
  constructor(directory: string) {
    this.#directory = directory;
    try {
      const folder = mkdtempSync(join(directory, 'tillstream-spool-'));
      try {
        this.#file = openSync(join(folder, 'rows'), 'w+');
      } finally {
        rmSync(folder, { recursive: true });
      }
    } catch (error) {
      throw new SpillError(directory, error as NodeJS.ErrnoException);
    }
  }

  /** Adds an order's own row. Ordinals begin at 0 and leave no gap. */
  addOrder(ordinal: number, row: SpooledRow): void {
    this.#add(ORDER_ROW, ordinal, row);
  }

  addItem(ordinal: number, row: SpooledRow): void {
    this.#add(ITEM_ROW, ordinal, row);
  }

  /** Every order with its items, by ordinal. May be called again. */
  *orders(): Generator<SpooledOrder> {
    for (const [index, bucket] of this.#buckets.entries()) {
      this.#flush(bucket);
      yield* this.#readBucket(index * ORDERS_PER_BUCKET, bucket);
    }
  }

  /** May be called again: the number of a closed file soon is that of another one, or of a socket. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.#file);
  }

  #add(kind: number, ordinal: number, { tag, tuple }: SpooledRow): void {
    const bucket = this.#bucketOf(ordinal);
    const bytes = HEADER_BYTES + tuple.length;
    if (bucket.buffer !== undefined && bucket.used + bytes > bucket.buffer.length) this.#flush(bucket);
    bucket.buffer ??= Buffer.allocUnsafe(Math.max(BUFFER_BYTES, bytes));
    const at = bucket.used;
    bucket.buffer.writeUInt8(kind, at);
    bucket.buffer.writeUInt32LE(ordinal, at + 1);
    bucket.buffer.writeUInt32LE(tag, at + 5);
    bucket.buffer.writeUInt32LE(tuple.length, at + 9);
    tuple.copy(bucket.buffer, at + HEADER_BYTES);
    bucket.used = at + bytes;
  }

  #bucketOf(ordinal: number): Bucket {
    const index = Math.floor(ordinal / ORDERS_PER_BUCKET);
    while (this.#buckets.length <= index) this.#buckets.push({ buffer: undefined, used: 0, extents: [] });
    return this.#buckets[index]!;
  }

  #flush(bucket: Bucket): void {
    this.#requireOpen();
    if (bucket.buffer === undefined || bucket.used === 0) return;
    try {
      for (let written = 0; written < bucket.used; ) {
        written += writeSync(this.#file, bucket.buffer, written, bucket.used - written, this.#fileBytes + written);
      }
    } catch (error) {
      this.close(); // the disk is full: what was written is of no use, and its space is free at once
      throw new SpillError(this.#directory, error as NodeJS.ErrnoException);
    }
    bucket.extents.push({ offset: this.#fileBytes, bytes: bucket.used });
    this.#fileBytes += bucket.used;
    bucket.buffer = undefined;
    bucket.used = 0;
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new Error('The temporary file of a large transaction was closed before it was read.');
  }

  *#readBucket(firstOrdinal: number, bucket: Bucket): Generator<SpooledOrder> {
    const orders: { order: SpooledRow | undefined; items: SpooledRow[] }[] = [];
    for (const extent of bucket.extents) {
      const bytes = Buffer.allocUnsafe(extent.bytes);
      for (let read = 0; read < extent.bytes; ) {
        const got = readSync(this.#file, bytes, read, extent.bytes - read, extent.offset + read);
        if (got === 0) throw new Error('The temporary file of a large transaction ended early.');
        read += got;
      }
      for (let at = 0; at < bytes.length; ) {
        const ordinal = bytes.readUInt32LE(at + 1);
        const length = bytes.readUInt32LE(at + 9);
        const row = {
          tag: bytes.readUInt32LE(at + 5),
          tuple: bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length),
        };
        orders[ordinal - firstOrdinal] ??= { order: undefined, items: [] };
        const rows = orders[ordinal - firstOrdinal]!;
        if (bytes.readUInt8(at) === ORDER_ROW) rows.order = row;
        else rows.items.push(row);
        at += HEADER_BYTES + length;
      }
    }
    yield* orders;
  }
}

/** The spooled rows of one transaction, by order. A row's tag is its relation's place in `#relations`. */
export class SpilledRows {
  readonly #spool: RowSpool;
  readonly #index = new OrderIndex();
  readonly #relations: ContractRelation[] = [];

  constructor(directory: string) {
    this.#spool = new RowSpool(directory);
  }

  get size(): number {
    return this.#index.size;
  }

  /** Adds the rows of `rows`, orders by ordinal as they come. @throws SpillError, PgoutputFormatError */
  add(rows: RowBuffer): void {
    for (let row = 0; row < rows.count; row++) {
      const relation = rows.relations[row]!;
      let tag = this.#relations.indexOf(relation);
      if (tag < 0) tag = this.#relations.push(relation) - 1;
      const spooled = { tag, tuple: rows.bytes.subarray(rows.starts[row], rows.ends[row]) };
      const ordinal = this.#index.add(readOrderId(rows, row));
      if (relation.kind === 'orders') this.#spool.addOrder(ordinal, spooled);
      else this.#spool.addItem(ordinal, spooled);
    }
  }

  /** Every order with its rows, by ordinal; both are overwritten by the next. */
  *orders(): Generator<{ rows: RowBuffer; order: OrderRows }> {
    const rows = new RowBuffer();
    for (const { order, items } of this.#spool.orders()) {
      rows.clear();
      if (order !== undefined) rows.add(this.#relations[order.tag]!, order.tuple);
      for (const { tag, tuple } of items) rows.add(this.#relations[tag]!, tuple);
      const [first] = groupByOrder(rows);
      yield { rows, order: first! };
    }
  }

  close(): void {
    this.#spool.close();
  }
}
