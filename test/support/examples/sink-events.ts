// OrderPlaced events for tests of the sink that have no reader: plausible, distinct, and with increasing positions. And
// what marks them as a replay.

import { randomUUID } from 'node:crypto';
import { addToTally, EMPTY_TALLY, type ReplayStamp, type ReplayTally } from '#schemas/replay/records.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import { toLsn } from '../../../schemas/lsn.ts';
import type { OrderPlaced } from '../../../schemas/order-placed.ts';
import { encodeOrderPlaced } from './encode-order-placed.ts';
import { createItem, createEvent as createPlainEvent } from './order-placed-events.ts';

/** One order of one item, with `changes` on top. `committedAt` is now. */
export function createEvent(changes: Partial<OrderPlaced> = {}): OrderPlaced {
  const nowMicros = BigInt(Date.now()) * 1_000n;
  return createPlainEvent({
    commitLsn: toLsn(0x1000n),
    committedAt: nowMicros,
    orderId: randomUUID(),
    totalCents: 500n,
    placedAt: nowMicros,
    items: [createItem({ quantity: 1, unitPriceCents: 500n, cartLineId: null })],
    ...changes,
  });
}

/** Counts positions up, as one reader does: every call is a transaction of its own. */
export function createPositions(): () => Pick<OrderPlaced, 'commitLsn' | 'ordinal'> {
  let next = 0x1000n;
  return () => {
    next += 0x100n;
    return { commitLsn: toLsn(next), ordinal: 0 };
  };
}

/** A run of its own, of repair, under the present rule, with `changes` on top. */
export function createStamp(changes: Partial<ReplayStamp> = {}): ReplayStamp {
  return { runId: randomUUID(), mode: 'repair', ruleVersion: RULE_VERSION, ...changes };
}

/** What a run that publishes these events says at its end. */
export function tallyEvents(events: readonly OrderPlaced[]): ReplayTally {
  return events.reduce(
    (tally, event) => addToTally(tally, Buffer.from(event.userId), encodeOrderPlaced(event)),
    EMPTY_TALLY,
  );
}
