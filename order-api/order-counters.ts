import type { Metrics } from '#service/metrics.ts';

/** What this service counts beyond its requests. */
export function createOrderCounters(metrics: Metrics) {
  return {
    placed: metrics.counter('tillstream_orders_placed_total', 'Orders placed through this API', ['source']),
    replayed: metrics.counter(
      'tillstream_orders_replayed_total',
      'Requests answered again because their idempotency key and order came before',
    ),
    keyConflicts: metrics.counter(
      'tillstream_orders_key_conflicts_total',
      'Requests refused because their idempotency key belongs to another order',
    ),
    paid: metrics.counter('tillstream_orders_paid_total', 'Orders moved from placed to paid'),
  };
}

export type OrderCounters = ReturnType<typeof createOrderCounters>;
