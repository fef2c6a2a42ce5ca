// Gathers the orders of a source into chunks of bounded size, so that a Kafka transaction of the tool stays small whatever
// the source reads at once. Where a chunk's cursor points is the source's business.

import type { SourceOrder } from './source.ts';

/** A send of more records a partition costs more than it saves, and a transaction of any size must come in parts. */
const FULL_ORDERS = 1_000;
const FULL_BYTES = 1024 * 1024;

/** Orders on their way into a chunk of bounded size. */
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
