// GET of one order and of a user's orders over HTTP: parameters, pages and 404. Paging itself is left to read-orders.ts.

import { mayAccess } from '#service/auth/ownership.ts';
import { ProblemError, problemResponse } from '#service/problem.ts';
import { formatOrder, orderSchema } from '../order.ts';
import { readOrder, readUserOrders } from '../read-orders.ts';
import { createOrderNotFound, type OrderRoutes } from './order-routes.ts';
import { orderPageSchema, orderParameters, pageQuery, userParameters } from './order-schemas.ts';

/** GET /orders/:orderId and GET /users/:userId/orders */
export function addReadOrders({ app, database }: OrderRoutes): void {
  app.get(
    '/orders/:orderId',
    {
      config: { access: 'found-user' },
      schema: {
        tags: ['orders'],
        summary: 'Read an order',
        params: orderParameters,
        response: { 200: orderSchema, 404: problemResponse('No such order') },
      },
    },
    async (request) => {
      const order = await readOrder(database.pool, request.params.orderId);
      // The same for another user's: guessing ids reveals nothing.
      if (order === undefined || !mayAccess(request, order.userId)) throw createOrderNotFound();
      return formatOrder(order);
    },
  );

  app.get(
    '/users/:userId/orders',
    {
      config: { access: 'named-user' },
      schema: {
        tags: ['orders'],
        summary: "List a user's orders, newest first",
        description:
          'A user who has never ordered has an empty list. A page ends before `limit` where its orders are large: what ' +
          'tells whether there are more is `next`.',
        params: userParameters,
        querystring: pageQuery,
        response: { 200: orderPageSchema },
      },
    },
    async ({ params, query }) => {
      const page = await readUserOrders(database.pool, { userId: params.userId, ...query });
      if (page.kind === 'unknown-cursor') {
        throw new ProblemError({
          status: 400,
          title: 'Bad Request',
          detail: 'The request is not valid: query.before.',
          errors: [{ field: 'query.before', message: 'is not the id of an order of this user' }],
        });
      }
      return { orders: page.orders.map(formatOrder), next: page.next };
    },
  );
}
