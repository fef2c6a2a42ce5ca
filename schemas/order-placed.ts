/**
 * The one event of this system, as the programs on both sides of Kafka see it, and what a sensible one looks like.
 *
 * Guarantees: an event without a problem (`findProblem`) can be applied to carts, whoever wrote it. Leaves to the
 * codec: bytes and Avro types. Leaves to the orders database: refusing such orders in the first place.
 */
import type { Lsn } from './lsn.ts';

export interface OrderPlacedItem {
  readonly lineNo: number;
  readonly sku: string;
  readonly quantity: number;
  readonly unitPriceCents: bigint;
  /** The cart line that the item came from; null: the user's live line of that SKU. */
  readonly cartLineId: string | null;
}

export interface OrderPlaced {
  readonly generation: number;
  readonly timeline: number;
  readonly commitLsn: Lsn;
  readonly ordinal: number;
  /** Microseconds since 1970. */
  readonly committedAt: bigint;
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
  readonly currency: string;
  readonly totalCents: bigint;
  /** Microseconds since 1970. */
  readonly placedAt: bigint;
  readonly items: readonly OrderPlacedItem[];
}

/** What is wrong with an event: the field, and what was expected of it; never the value, which may be personal. */
export interface FieldProblem {
  /** Dotted path, like `items.0.quantity`. */
  readonly field: string;
  readonly expected: string;
}

const IDENTIFIER = /^[A-Za-z0-9._:-]{1,64}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const LARGEST_INT = 2 ** 31 - 1;
export const LARGEST_QUANTITY = 1_000_000;

export const UUID_FORM = 'a UUID';
export const IDENTIFIER_FORM = '1 to 64 characters of A-Z a-z 0-9 . _ : -';
export const TEXT_FORM = 'text, not empty, without NUL';

/** The first problem that keeps `event` from being applied, undefined when there is none. UUIDs must be lower case. */
export function findProblem(event: OrderPlaced): FieldProblem | undefined {
  if (!isInt(event.generation, 1)) return { field: 'generation', expected: 'an int from 1' };
  if (!isInt(event.timeline, 1)) return { field: 'timeline', expected: 'an int from 1' };
  if (event.commitLsn < 0n) return { field: 'commitLsn', expected: 'a position from 0' };
  if (!isInt(event.ordinal, 0)) return { field: 'ordinal', expected: 'an int from 0' };
  if (!UUID.test(event.orderId)) return { field: 'orderId', expected: UUID_FORM };
  if (!IDENTIFIER.test(event.userId)) return { field: 'userId', expected: IDENTIFIER_FORM };
  if (!isText(event.source)) return { field: 'source', expected: TEXT_FORM };
  if (!isText(event.currency)) return { field: 'currency', expected: TEXT_FORM };
  if (event.items.length === 0) return { field: 'items', expected: 'at least one item' };
  return findItemProblem(event.items);
}

function findItemProblem(items: readonly OrderPlacedItem[]): FieldProblem | undefined {
  const lineNos = new Set<number>();
  for (const [index, item] of items.entries()) {
    const problem = (field: string, expected: string) => ({ field: `items.${index}.${field}`, expected });
    if (!isInt(item.lineNo, -LARGEST_INT - 1)) return problem('lineNo', 'an int');
    if (lineNos.has(item.lineNo)) return problem('lineNo', 'a number that no other item of the order has');
    lineNos.add(item.lineNo);
    if (!IDENTIFIER.test(item.sku)) return problem('sku', IDENTIFIER_FORM);
    if (!isInt(item.quantity, 1) || item.quantity > LARGEST_QUANTITY) {
      return problem('quantity', `an int from 1 to ${LARGEST_QUANTITY}`);
    }
    if (item.unitPriceCents < 0n) return problem('unitPriceCents', 'a number from 0');
    if (item.cartLineId !== null && !UUID.test(item.cartLineId)) return problem('cartLineId', `null or ${UUID_FORM}`);
  }
  return undefined;
}

/** avsc reads an int without checking its range. */
function isInt(value: number, smallest: number): boolean {
  return Number.isInteger(value) && value >= smallest && value <= LARGEST_INT;
}

/** Postgres can't store NUL in text. */
function isText(value: string): boolean {
  return value.length > 0 && !value.includes('\0');
}
