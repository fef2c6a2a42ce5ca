// What every source of a replay gives: orders in chunks, each with where to go on after it, and what range it covers.
// Guarantees asked of a source: the orders of one partition come in the order of the live topic; reading from a chunk's
// cursor gives exactly what lies after that chunk, in another process too. Publishing and choosing are left to others.

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

/** About a thousand orders or a megabyte: a Kafka transaction holds whole chunks. */
export interface SourceChunk {
  readonly orders: readonly SourceOrder[];
  /** Records passed over because they can never be decoded. */
  readonly skipped?: number;
  /** Where to go on after this chunk. */
  readonly cursor: JsonValue;
}

export interface ReplaySource {
  readonly kind: SourceKind;
  /** Everything, or what lies after `cursor`. Ends by itself; throws `signal`'s reason when it is aborted. */
  read(cursor: JsonValue | null, signal: AbortSignal): AsyncIterable<SourceChunk>;
}

export interface Coverage {
  readonly kind: SourceKind;
  /** Everything committed from here on can be had; null: nothing can. */
  readonly oldestLsn: Lsn | null;
  /** Up to here, exclusive. */
  readonly newestLsn: Lsn;
  /** One sentence for the operator: what bounds it. */
  readonly why: string;
  covers(range: LsnRange): boolean;
}
