// What the routes of order-api share: the server that they are added to, the database, the counters, and the problem of
// an order that does not exist.
import type { Database } from '#service/database.ts';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import type { Metrics } from '#service/metrics.ts';
import { ProblemError } from '#service/problem.ts';

export interface OrderRoutes {
  readonly app: ZodFastifyInstance;
  readonly database: Database;
  readonly counters: ReturnType<typeof createOrderCounters>;
}

export function createOrderCounters(metrics: Metrics) {
  return {
    placed: metrics.counter('tillstream_orders_placed_total', 'Orders placed through this API', ['source']),
    replayed: metrics.counter(
      'tillstream_orders_replayed_total',
      'Repeated requests: same idempotency key, same order, same response',
    ),
    keyConflicts: metrics.counter(
      'tillstream_orders_key_conflicts_total',
      'Requests refused because their idempotency key belongs to another order',
    ),
    paid: metrics.counter('tillstream_orders_paid_total', 'Orders moved from placed to paid'),
  };
}

export function createOrderNotFound(): ProblemError {
  return new ProblemError({
    status: 404,
    title: 'Order not found',
    detail: 'There is no order with this id.',
    errors: [{ field: 'params.orderId', message: 'is not the id of an order' }],
  });
}
