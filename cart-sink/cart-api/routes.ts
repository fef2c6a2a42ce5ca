/**
 * The routes of the cart API: read and change the lines of a user's cart.
 *
 * Guarantees: each request is one statement, so it is atomic, and waits for the sink if both change the same line.
 * Leaves to http-server: validation errors, and 503 or 504 while the database is away; to add-line-route.ts: adding.
 */
import type { Queryable } from '@databases/pg';
import { z } from 'zod';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import { ProblemError, problemResponse } from '#service/problem.ts';
import { type CartLineView, changeCartLine, readCart, removeCartLine } from '../sql/cart-lines.ts';
import { addAddLine } from './add-line-route.ts';
import type { CartCounters } from './cart-counters.ts';
import { cartParameters, cartSchema, formatLine, lineChangeSchema, lineParameters, lineSchema } from './carts.ts';

const tags = ['carts'];
const noSuchLine = problemResponse('This user has no such line');

export function addCartRoutes(app: ZodFastifyInstance, database: Queryable, counters: CartCounters): void {
  app.get(
    '/carts/:userId',
    {
      config: { access: 'named-user' },
      schema: {
        tags,
        summary: 'Read a cart',
        description: 'A user who never added anything has an empty cart.',
        params: cartParameters,
        response: { 200: cartSchema },
      },
    },
    async (request) => {
      const { userId } = request.params;
      const lines: CartLineView[] = await database.query(readCart(userId));
      return { userId, lines: lines.map(formatLine) };
    },
  );

  addAddLine(app, database, counters);

  app.patch(
    '/carts/:userId/lines/:lineId',
    {
      config: { access: 'named-user', repeating: { kind: 'safe' } },
      schema: {
        tags,
        summary: 'Change the quantity of a line',
        params: lineParameters,
        body: lineChangeSchema,
        response: { 200: lineSchema, 404: noSuchLine },
      },
    },
    async (request) => {
      const { userId, lineId } = request.params;
      const [line]: CartLineView[] = await database.query(changeCartLine(userId, lineId, request.body.quantity));
      if (line === undefined) throw createLineNotFound();
      return formatLine(line);
    },
  );

  app.delete(
    '/carts/:userId/lines/:lineId',
    {
      config: { access: 'named-user', repeating: { kind: 'safe' } },
      schema: {
        tags,
        summary: 'Remove a line',
        params: lineParameters,
        response: { 204: z.null().describe('Removed'), 404: noSuchLine },
      },
    },
    async (request, reply) => {
      const { userId, lineId } = request.params;
      const removed: unknown[] = await database.query(removeCartLine(userId, lineId));
      if (removed.length === 0) throw createLineNotFound();
      return reply.code(204).send(null);
    },
  );
}

/** The same answer for a line that never existed and for another user's: guessing ids reveals nothing. */
function createLineNotFound(): ProblemError {
  return new ProblemError({
    status: 404,
    title: 'Cart line not found',
    detail: 'This user has no line with this id. It may have been ordered in the meantime.',
    errors: [{ field: 'params.lineId', message: 'is not a line of this cart' }],
  });
}
