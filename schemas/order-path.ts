// The path of one order, from its row to its effect: what the reader serves at GET /operations/orders, and `npm run find` prints.
// What the carts know of it crosses from the sink to the reader. 64-bit numbers are text; times are ISO 8601 in UTC. Also what
// follows from the facts: how far the order has come. Pure.
import { z } from 'zod';

const count = z.string().regex(/^\d+$/);
const time = z.iso.datetime();
const place = { topic: z.string(), partition: z.int() };

/** What the carts database has of an order: GET /operations/orders/:orderId of the sink. */
export const cartsOrder = z.object({
  orderId: z.string(),
  /** Null: no sink has applied it. `removed` below 0: a replay has given goods back. */
  applied: z
    .object({
      at: time,
      position: z.string(),
      ruleVersion: z.int(),
      source: z.string(),
      removals: z.array(
        z.object({
          lineNo: z.int(),
          entry: z.int(),
          sku: z.string(),
          ordered: z.int(),
          removed: z.int(),
          outcome: z.string(),
          lineId: z.string().nullable(),
        }),
      ),
    })
    .nullable(),
  /** Records that were parked and hold the order's id. `outcome`: what an operator has decided. */
  parked: z.array(
    z.object({
      ...place,
      id: count,
      offset: count,
      reason: z.string(),
      parkedAt: time,
      outcome: z.string().nullable(),
      command: z.string(),
    }),
  ),
});

export const orderStates = {
  applied: 'the carts have it',
  parked: 'its record is parked: the sinks could not apply it',
  discarded: 'its record was parked, and an operator has discarded it',
  halted: 'its partition has halted before it',
  published: 'it is in Kafka, and the sinks have not reached it yet',
  passed: 'the sinks have passed its record, and the ledger lacks it: run npm run audit',
  placed: 'it has committed, and is not in Kafka yet',
  forgotten: 'the ledger lacks it, and Kafka no longer goes back to it, or has not got it yet: run npm run audit',
  missing: 'no database and no topic has it',
  unknown: 'too little could be read to tell',
} as const;

const states = Object.keys(orderStates) as [keyof typeof orderStates];

const orderPath = z.object({
  orderId: z.string(),
  state: z.enum(states),
  /** Null: the orders database does not have it. `xid`: the transaction that inserted it; null where the table lacks the column. */
  order: z
    .object({
      userId: z.string(),
      source: z.string(),
      placedAt: time,
      xid: z.string().nullable(),
      items: z.array(z.object({ lineNo: z.int(), sku: z.string(), quantity: z.int() })),
    })
    .nullable(),
  /** Its record in the live topic; null: not there. */
  event: z
    .object({ ...place, offset: count, position: z.string(), committedAt: time, traceparent: z.string().nullable() })
    .nullable(),
  /** `acknowledged`: of the reader's slot: everything that committed before it is in Kafka. `active`: a reader streams. */
  reader: z.object({ acknowledged: z.string().nullable(), active: z.boolean(), walEnd: z.string() }).nullable(),
  /** Where the sinks are in the partition of the order's user. */
  partition: z
    .object({
      ...place,
      nextOffset: count,
      ownerEpoch: count,
      halted: z.object({ code: z.string(), since: time, command: z.string() }).nullable(),
    })
    .nullable(),
  carts: cartsOrder.nullable(),
  /** What could not be read, and why. */
  problems: z.array(z.string()),
});

/** `why`: where there are none, what to do. */
export const orderPaths = z.object({ paths: z.array(orderPath), why: z.string().nullable() });

export type CartsOrder = z.infer<typeof cartsOrder>;
export type OrderPath = z.infer<typeof orderPath>;
export type OrderPaths = z.infer<typeof orderPaths>;

export interface PathFacts extends Omit<OrderPath, 'state'> {
  /** Whether the live topic was searched, and holds everything since the order was placed. */
  readonly kafka: 'searched' | 'forgotten' | 'unknown';
}

/** How far the order has come. */
export function stateOf({ order, event, partition, carts, kafka, problems }: PathFacts): OrderPath['state'] {
  if (carts?.applied) return 'applied';
  const pending = carts?.parked.find(({ outcome }) => outcome === null);
  if (pending !== undefined) return 'parked';
  if (carts?.parked.some(({ outcome }) => outcome === 'discarded')) return 'discarded';
  if (event !== null) {
    if (carts === null || partition === null) return problems.length > 0 ? 'unknown' : 'published';
    if (BigInt(partition.nextOffset) > BigInt(event.offset)) return 'passed';
    return partition.halted === null ? 'published' : 'halted';
  }
  if (kafka === 'unknown' || carts === null) return 'unknown';
  if (order === null) return problems.length > 0 ? 'unknown' : 'missing';
  return kafka === 'forgotten' ? 'forgotten' : 'placed';
}
