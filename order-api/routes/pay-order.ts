import { problemResponse } from '#service/problem.ts';
import { formatOrder, orderSchema } from '../order.ts';
import { payOrder } from '../pay-order.ts';
import { createOrderNotFound, type OrderRoutes } from './order-routes.ts';
import { orderParameters } from './order-schemas.ts';

/** POST /orders/:orderId/payment */
export function addPayOrder({ app, database, counters }: OrderRoutes): void {
  app.post(
    '/orders/:orderId/payment',
    {
      config: { access: { scope: 'orders:pay' }, repeating: { kind: 'safe' } },
      schema: {
        tags: ['orders'],
        summary: 'Pay an order',
        description:
          'Moves the order from placed to paid. Paying a paid order changes nothing and gets the same response.',
        params: orderParameters,
        response: { 200: orderSchema, 404: problemResponse('No such order') },
      },
    },
    async ({ params }) => {
      const payment = await payOrder(database.pool, params.orderId);
      if (payment === undefined) throw createOrderNotFound();
      if (payment.changed) counters.paid.inc();
      return formatOrder(payment.order);
    },
  );
}
