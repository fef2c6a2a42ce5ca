// What every source of a replay provides: orders in chunks, each with the cursor to continue from, and the range it covers.
// Required of a source: the orders of a partition come in the order of the live topic; reading from a chunk's cursor gives
// exactly what lies after that chunk, in another process too. Chunks are bounded, so that Kafka transactions are.

import type { LsnRange } from '#schemas/checkpoint.ts';
import type { Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { JsonValue, SourceKind } from '#schemas/replay/plan.ts';

export interface SourceOrder {
  /** The order's partition in the live topic, and in the replay topic. */
  readonly partition: number;
  /** The user id. */
  readonly key: string;
  /** The event's bytes, safe to keep. */
  readonly value: Buffer;
  readonly event: OrderPlaced;
}

/** For the reader's encoder: the run that sends a chunk knows the topic. */
export const NO_TOPIC = '';

/** About a thousand orders or a megabyte: a Kafka transaction holds whole chunks. */
export interface SourceChunk {
  readonly orders: readonly SourceOrder[];
  /** Records that can never be decoded, and were skipped. */
  readonly skipped?: number;
  /** Where reading continues after this chunk. */
  readonly cursor: JsonValue;
}

export interface ReplaySource {
  readonly kind: SourceKind;
  /** Everything, or what lies after `cursor`. @throws the signal's reason */
  read(cursor: JsonValue | null, signal: AbortSignal): AsyncIterable<SourceChunk>;
}

export interface Coverage {
  readonly kind: SourceKind;
  /** Everything committed from here on is available; null: nothing is. */
  readonly oldestLsn: Lsn | null;
  /** Up to here, exclusive. */
  readonly newestLsn: Lsn;
  /** What bounds it, in one sentence for the operator. */
  readonly why: string;
  covers(range: LsnRange): boolean;
}

/** Larger sends gain nothing, and a database transaction of any size must be split. */
const FULL_ORDERS = 1_000;
const FULL_BYTES = 1024 * 1024;

/** Collects orders until a chunk is full. */
export class ChunkBuilder {
  #orders: SourceOrder[] = [];
  #bytes = 0;

  add(order: SourceOrder): void {
    this.#orders.push(order);
    this.#bytes += order.value.length;
  }

  get isEmpty(): boolean {
    return this.#orders.length === 0;
  }

  get isFull(): boolean {
    return this.#orders.length >= FULL_ORDERS || this.#bytes >= FULL_BYTES;
  }

  /** What was added since the last call. */
  take(): readonly SourceOrder[] {
    const orders = this.#orders;
    this.#orders = [];
    this.#bytes = 0;
    return orders;
  }
}
