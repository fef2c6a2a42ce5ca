/**
 * What the sink serves to operators and consoles beside health and metrics: the carts side of the pipeline.
 *
 * Guarantees: no user, no order and no payload without the right of an operator; an answer within a second, 503 if the carts
 * database has none. Leaves to carts-status.ts: what is in it.
 */
import { cartsStatus } from '#schemas/carts-status.ts';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import { ProblemError } from '#service/problem.ts';
import { type createCartsStatus, StatusLateError } from './carts-status.ts';

const cartsSchema = {
  tags: ['operations'],
  summary: 'Offsets, halted partitions, parked events, replay runs and the last verdicts',
  response: { 200: cartsStatus },
};

export function addSinkOperations(
  app: ZodFastifyInstance,
  { readStatus }: { readonly readStatus: ReturnType<typeof createCartsStatus> },
): void {
  app.get('/operations/carts', { schema: cartsSchema }, () =>
    readStatus().catch((error) => {
      throw error instanceof StatusLateError ? createLate(error) : error;
    }),
  );
}

function createLate({ message }: StatusLateError): ProblemError {
  return new ProblemError({
    status: 503,
    title: 'Database not available',
    detail: message,
    headers: { 'retry-after': '1' },
  });
}
