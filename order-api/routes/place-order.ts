// POST /orders over HTTP: validation of the request, and the response to each outcome. Placing the order exactly once is
// left to place-order.ts.
import { ProblemError, problemResponse } from '#service/problem.ts';
import { placeOrder } from '../place-order.ts';
import type { OrderRoutes } from './order-routes.ts';
import { formatOrder, idempotencyHeaders, newOrderSchema, orderSchema } from './order-schemas.ts';

/** POST /orders */
export function addPlaceOrder({ app, database, counters }: OrderRoutes): void {
  app.post(
    '/orders',
    {
      config: { access: 'named-user', repeating: { kind: 'by-key', readBack: 'GET /users/{userId}/orders' } },
      schema: {
        tags: ['orders'],
        summary: 'Place an order',
        description:
          'Places the order in one database transaction. With an Idempotency-Key a request is safe to repeat: the same ' +
          'order again gets 200 with the first response, whatever has happened to the order since.',
        headers: idempotencyHeaders,
        body: newOrderSchema,
        response: {
          200: orderSchema.describe('Repeated request (same key, same order): the first response again'),
          201: orderSchema.describe('Placed'),
          422: problemResponse('The idempotency key belongs to another order of this user'),
        },
      },
    },
    async (request, reply) => {
      const placing = await placeOrder(database, request.body, request.headers['idempotency-key']);
      switch (placing.kind) {
        case 'placed':
          counters.placed.inc({ source: placing.order.source });
          return reply
            .code(201)
            .header('location', `/orders/${placing.order.orderId}`)
            .send(formatOrder(placing.order));
        case 'replayed':
          counters.replayed.inc();
          return reply.code(200).send(formatOrder(placing.order));
        case 'key-used':
          counters.keyConflicts.inc();
          throw new ProblemError({
            status: 422,
            title: 'Idempotency key used before',
            detail: 'This user has placed another order with this Idempotency-Key. Choose a new key for a new order.',
            errors: [{ field: 'headers.idempotency-key', message: 'belongs to another order' }],
          });
      }
    },
  );
}
