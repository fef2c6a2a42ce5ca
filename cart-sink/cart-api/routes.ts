/**
 * The routes of the cart API: read and change the lines of a user's cart.
 *
 * Guarantees: each request is one statement, so it is atomic, and waits for the sink if both change the same line.
 * Leaves to http-server: validation errors, and 503 while the database is away.
 */
import { randomUUIDv7 } from 'node:crypto';
import type { Queryable } from '@databases/pg';
import { z } from 'zod';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import { ProblemError, problemResponse } from '#service/problem.ts';
import { MOST_OF_A_LINE } from '../rule/reduce-cart.ts';
import { addCartLine, type CartLineView, changeCartLine, readCart, removeCartLine } from '../sql/cart-lines.ts';
import {
  cartParameters,
  cartSchema,
  formatLine,
  lineChangeSchema,
  lineParameters,
  lineSchema,
  newLineSchema,
} from './carts.ts';

const tags = ['carts'];
const noSuchLine = problemResponse('This user has no such line');

export function addCartRoutes(app: ZodFastifyInstance, database: Queryable): void {
  app.get(
    '/carts/:userId',
    {
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

  app.post(
    '/carts/:userId/lines',
    {
      schema: {
        tags,
        summary: 'Add goods to a cart',
        description: 'Adding a SKU that is in the cart raises the quantity of its line.',
        params: cartParameters,
        body: newLineSchema,
        response: { 201: lineSchema, 422: problemResponse('The line would hold too many') },
      },
    },
    async (request, reply) => {
      const added = { ...request.params, ...request.body, lineId: randomUUIDv7(), most: MOST_OF_A_LINE };
      const [line]: CartLineView[] = await database.query(addCartLine(added));
      if (line === undefined) throw createTooMany();
      return reply.code(201).send(formatLine(line));
    },
  );

  app.patch(
    '/carts/:userId/lines/:lineId',
    {
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

function createTooMany(): ProblemError {
  return new ProblemError({
    status: 422,
    title: 'Too many',
    detail: `A cart line holds at most ${MOST_OF_A_LINE}, including what is already in it. Nothing was added.`,
    errors: [{ field: 'body.quantity', message: `makes more than ${MOST_OF_A_LINE} with what is in the cart` }],
  });
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
