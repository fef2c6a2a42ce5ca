/**
 * Adding goods to a cart: one statement, so one transaction, also with an Idempotency-Key; a second one only where
 * nothing was added, to find out why.
 *
 * Guarantees that a user's key adds once, however many requests bring it at once: the primary key decides, and who loses
 * is answered what the winner was. Leaves to others: the form of requests (routes), forgetting old keys (forget-keys.ts).
 */
import type { Queryable } from '@databases/pg';
import {
  addCartLineByKey,
  KEY_CONSTRAINT,
  type Refusal,
  readRefusal,
  UNIQUE_VIOLATION,
} from '../sql/cart-line-keys.ts';
import { type AddedLine, addCartLine, type CartLineView } from '../sql/cart-lines.ts';

export type Adding =
  | { readonly kind: 'added'; readonly line: CartLineView }
  /** The key and the same request came before: the line as that request was answered. */
  | { readonly kind: 'replayed'; readonly line: CartLineView }
  /** The key came before with another request. */
  | { readonly kind: 'key-used' }
  /** The line would hold too many. */
  | { readonly kind: 'line-full' }
  /** The cart has as many lines as can be added. */
  | { readonly kind: 'cart-full' };

/** What refused a request may be gone when it is asked for: a line was removed, a key forgotten. */
const MOST_ATTEMPTS = 5;

export async function addLine(database: Queryable, added: AddedLine, key: string | undefined): Promise<Adding> {
  for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt++) {
    const line = await tryToAdd(database, added, key);
    if (line !== undefined) return { kind: 'added', line };
    const [refusal] = (await database.query(readRefusal(added, key ?? null))) as [Refusal];
    const explained = explainRefusal(added, refusal);
    if (explained !== undefined) return explained;
  }
  throw new Error(
    'The cart lines took no row: a trigger, rule or policy of somebody else keeps it back. Nothing was added.',
  );
}

async function tryToAdd(
  database: Queryable,
  added: AddedLine,
  key: string | undefined,
): Promise<CartLineView | undefined> {
  if (key === undefined) return (await database.query(addCartLine(added)))[0];
  try {
    return (await database.query(addCartLineByKey(added, key)))[0];
  } catch (error) {
    const { code, constraint } = error as { code?: unknown; constraint?: unknown };
    if (code === UNIQUE_VIOLATION && constraint === KEY_CONSTRAINT) return undefined;
    throw error;
  }
}

/** Undefined if nothing stands in the way any more. */
function explainRefusal(added: AddedLine, refusal: Refusal): Adding | undefined {
  const { keySku, keyAdded, keyLineId, keyLineQuantity, keyLineCreatedAt, quantity, lines } = refusal;
  if (keySku !== null) {
    if (keySku !== added.sku || keyAdded !== added.quantity) return { kind: 'key-used' };
    const line = { lineId: keyLineId!, sku: keySku, quantity: keyLineQuantity!, createdAt: keyLineCreatedAt! };
    return { kind: 'replayed', line };
  }
  if (quantity !== null) return quantity + added.quantity > added.most ? { kind: 'line-full' } : undefined;
  return lines >= BigInt(added.mostLines) ? { kind: 'cart-full' } : undefined;
}
