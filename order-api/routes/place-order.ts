// POST /orders over HTTP: validation of the request, and the response to each outcome. Placing the order exactly once is
// left to place-order.ts.

import { type Span, SpanKind, trace } from '@opentelemetry/api';
import { ProblemError, problemResponse } from '#service/problem.ts';
import { parseTraceParent, TRACEPARENT } from '#service/tracing/trace-context.ts';
import { activeTracer, contextOf, inSpan, traceparentOf } from '#service/tracing/tracing.ts';
import { formatOrder, newOrderSchema, orderSchema } from '../order.ts';
import { placeOrder } from '../place-order.ts';
import type { OrderRoutes } from './order-routes.ts';
import { idempotencyHeaders } from './order-schemas.ts';

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
      const incoming = readTraceparent(request.headers[TRACEPARENT]);
      const placing = await traced(incoming, (traceparent) =>
        placeOrder(database, request.body, { idempotencyKey: request.headers['idempotency-key'], traceparent }),
      );
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

/** What has another form than W3C's counts as absent, as W3C has it. */
function readTraceparent(header: unknown): string | undefined {
  return typeof header === 'string' && parseTraceParent(header) !== undefined ? header : undefined;
}

/**
 * With tracing: a span for the request, and one for its statement, which commits. The order travels under the caller's context,
 * unchanged; without one, under that of the request's span.
 */
async function traced<T>(incoming: string | undefined, place: (traceparent?: string) => Promise<T>): Promise<T> {
  const tracer = activeTracer();
  if (tracer === undefined) return place(incoming);
  const request = tracer.startSpan('POST /orders', { kind: SpanKind.SERVER }, contextOf(incoming));
  request.setAttributes({ 'http.request.method': 'POST', 'http.route': '/orders' });
  return inSpan(request, () => {
    const options = {
      kind: SpanKind.CLIENT,
      attributes: { 'db.system.name': 'postgresql', 'db.operation.name': 'INSERT' },
    };
    const commit = tracer.startSpan('commit order', options, trace.setSpan(contextOf(incoming), request));
    return inSpan(commit, () => place(incoming ?? ownTraceparent(request)));
  });
}

/** A trace that is not recorded need not travel. */
function ownTraceparent(span: Span): string | undefined {
  return span.isRecording() ? traceparentOf(span) : undefined;
}
