/**
 * Checks that the events of a live partition continue what was applied from it (I4, I11). Pure.
 *
 * The reader publishes positions that strictly increase within a partition. An event at or before the furthest applied
 * position is therefore a duplicate of an order that the ledger has (skipped and counted), or evidence of another
 * history: a second writer, a restored topic or database. A new generation is legal only if an operator announced it.
 */
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { comparePositions, type Position } from '#schemas/position.ts';

export interface AppliedPosition {
  /** The furthest position applied from the partition; null before the first, or if an operator has cleared it. */
  readonly position: Position | null;
  /** The generation that events must have; null before the first. */
  readonly generation: number | null;
}

export type PositionCheck =
  | { readonly kind: 'continues' }
  | { readonly kind: 'went-back'; readonly applied: Position; readonly found: Position }
  | { readonly kind: 'generation-changed'; readonly applied: number; readonly found: number };

/** `orders` in the sequence of Kafka; `isNew[i]`: the ledger did not have `orders[i]`. */
export function checkPositions(
  before: AppliedPosition,
  orders: readonly OrderPlaced[],
  isNew: readonly boolean[],
): PositionCheck {
  let { position, generation } = before;
  for (const [index, order] of orders.entries()) {
    generation ??= order.generation;
    if (order.generation !== generation) {
      return { kind: 'generation-changed', applied: generation, found: order.generation };
    }
    if (position === null || comparePositions(order, position) > 0) position = order;
    else if (isNew[index]) return { kind: 'went-back', applied: position, found: order };
  }
  return { kind: 'continues' };
}

/** The event with the furthest position; undefined if there is none. */
export function findFurthest(orders: readonly OrderPlaced[]): OrderPlaced | undefined {
  let furthest: OrderPlaced | undefined;
  for (const order of orders) {
    if (furthest === undefined || comparePositions(order, furthest) > 0) furthest = order;
  }
  return furthest;
}
