/**
 * What the sink serves to operators and consoles beside health and metrics: the carts side of the pipeline, and of one order.
 *
 * Guarantees: no user, no order and no payload without the right of an operator; an answer within a second, 503 if the carts
 * database has none. Leaves to carts-status.ts and order-facts.ts: what is in it.
 */
import { z } from 'zod';
import { cartsStatus } from '#schemas/carts-status.ts';
import { cartsOrder } from '#schemas/order-path.ts';
import { type OperatorPort, requireOperator } from '#service/auth/operators.ts';
import type { Database } from '#service/database.ts';
import { withDeadline } from '#service/deadline.ts';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import { ProblemError, problemResponse } from '#service/problem.ts';
import { type createCartsStatus, StatusLateError } from './carts-status.ts';
import { readCartsOrder } from './order-facts.ts';

const tags = ['operations'];
const cartsSchema = {
  tags,
  summary: 'Offsets, halted partitions, parked events, replay runs and the last verdicts',
  response: { 200: cartsStatus },
};
const orderSchema = {
  tags,
  summary: 'What the carts have of one order',
  params: z.object({ orderId: z.guid('expected a UUID').toLowerCase() }),
  response: {
    200: cartsOrder,
    401: problemResponse('Not on loopback: no token, or none that is accepted'),
    403: problemResponse('Not on loopback: the token lacks the scope operator'),
  },
};

export interface SinkOperations {
  readonly readStatus: ReturnType<typeof createCartsStatus>;
  readonly database: Pick<Database, 'pool'>;
  readonly port: OperatorPort;
}

const ORDER_DEADLINE_MS = 1_000;

export function addSinkOperations(app: ZodFastifyInstance, { readStatus, database, port }: SinkOperations): void {
  app.get('/operations/carts', { schema: cartsSchema }, () => explainLate(readStatus()));
  app.get('/operations/orders/:orderId', { schema: orderSchema, onRequest: requireOperator(port) }, ({ params }) =>
    explainLate(
      withDeadline(
        readCartsOrder(database, params.orderId),
        ORDER_DEADLINE_MS,
        () => new StatusLateError(ORDER_DEADLINE_MS),
      ),
    ),
  );
}

async function explainLate<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof StatusLateError)) throw error;
    const headers = { 'retry-after': '1' };
    throw new ProblemError({ status: 503, title: 'Database not available', detail: error.message, headers });
  }
}
