import { ProblemError } from '#service/problem.ts';

/** The answer where the path names an order that does not exist. */
export function createOrderNotFound(): ProblemError {
  return new ProblemError({
    status: 404,
    title: 'Order not found',
    detail: 'There is no order with this id.',
    errors: [{ field: 'params.orderId', message: 'is no order' }],
  });
}
