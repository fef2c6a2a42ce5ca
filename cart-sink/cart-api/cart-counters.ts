import type { Metrics } from '#service/metrics.ts';

/** What the cart API counts beyond its requests. */
export function createCartCounters(metrics: Metrics) {
  return {
    replayed: metrics.counter(
      'tillstream_carts_replayed_total',
      'Requests answered again because their idempotency key and body came before',
    ),
    keyConflicts: metrics.counter(
      'tillstream_carts_key_conflicts_total',
      'Requests refused because their idempotency key belongs to another request',
    ),
  };
}

export type CartCounters = ReturnType<typeof createCartCounters>;
