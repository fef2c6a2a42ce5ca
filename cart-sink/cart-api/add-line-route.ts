// POST /carts/:userId/lines over HTTP: what a request must look like, and which answer each outcome gets. Adding, once
// whatever is repeated, is add-line.ts's.
import { randomUUIDv7 } from 'node:crypto';
import type { Queryable } from '@databases/pg';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import { ProblemError, problemResponse } from '#service/problem.ts';
import { MOST_OF_A_LINE } from '../rule/reduce-cart.ts';
import { addLine } from './add-line.ts';
import type { CartCounters } from './cart-counters.ts';
import { cartParameters, formatLine, keyHeaders, lineSchema, newLineSchema } from './carts.ts';

/** Lines that the API adds to one cart: some 200 kB to read it. What is more came from other writers. */
const MOST_LINES = 1_000;

/** POST /carts/:userId/lines */
export function addAddLine(app: ZodFastifyInstance, database: Queryable, counters: CartCounters): void {
  app.post(
    '/carts/:userId/lines',
    {
      config: { access: 'named-user', repeating: { kind: 'by-key', readBack: 'GET /carts/{userId}' } },
      schema: {
        tags: ['carts'],
        summary: 'Add goods to a cart',
        description:
          'Adding a SKU that is in the cart raises the quantity of its line. With an Idempotency-Key it is safe to ' +
          'repeat: the same request again answers 200 with what the first one was answered, and adds nothing.',
        headers: keyHeaders,
        params: cartParameters,
        body: newLineSchema,
        response: {
          200: lineSchema.describe('The key and the request came before: the first answer again'),
          201: lineSchema.describe('Added'),
          422: problemResponse(
            'The line would hold too many, the cart has too many lines, or the key belongs to another request',
          ),
        },
      },
    },
    async (request, reply) => {
      const { params, body, headers } = request;
      const added = { ...params, ...body, lineId: randomUUIDv7(), most: MOST_OF_A_LINE, mostLines: MOST_LINES };
      const adding = await addLine(database, added, headers['idempotency-key']);
      switch (adding.kind) {
        case 'added':
          return reply.code(201).send(formatLine(adding.line));
        case 'replayed':
          counters.replayed.inc();
          return reply.code(200).send(formatLine(adding.line));
        case 'key-used':
          counters.keyConflicts.inc();
          throw createKeyUsed();
        case 'line-full':
          throw createLineFull();
        case 'cart-full':
          throw createCartFull();
      }
    },
  );
}

function createKeyUsed(): ProblemError {
  return new ProblemError({
    status: 422,
    title: 'Idempotency key used before',
    detail: 'This user has added other goods with this Idempotency-Key. Choose a new key for a new request.',
    errors: [{ field: 'headers.idempotency-key', message: 'belongs to another request' }],
  });
}

function createLineFull(): ProblemError {
  return new ProblemError({
    status: 422,
    title: 'Too many',
    detail: `A cart line holds at most ${MOST_OF_A_LINE}, including what is already in it. Nothing was added.`,
    errors: [{ field: 'body.quantity', message: `makes more than ${MOST_OF_A_LINE} with what is in the cart` }],
  });
}

function createCartFull(): ProblemError {
  return new ProblemError({
    status: 422,
    title: 'Too many lines',
    detail: `This cart has ${MOST_LINES} lines, and none can be added. Remove one first. Nothing was added.`,
    errors: [{ field: 'body.sku', message: `would be more than ${MOST_LINES} lines` }],
  });
}
