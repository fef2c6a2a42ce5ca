// What an event may hold, by the bytes of a row: the sink parks an event that breaks these rules (findProblem in
// schemas/order-placed.ts), so its row is refused here, before anybody has consumed it. The database's CHECK constraints refuse
// it before; they can be dropped. Guarantees the same verdict as findProblem (property test).
import { IDENTIFIER_FORM, LARGEST_QUANTITY, TEXT_FORM, UUID_FORM } from '#schemas/order-placed.ts';
import { RowNotPublishableError } from './unpublishable-errors.ts';

const LONGEST_IDENTIFIER = 64;
const UUID_BYTES = 36;
const DASH = 0x2d;

/** By byte: 1 for those of an identifier, 2 for hexadecimal digits; both are 3. */
const KINDS = new Uint8Array(256);
for (const byte of Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-')) KINDS[byte]! |= 1;
for (const byte of Buffer.from('0123456789abcdefABCDEF')) KINDS[byte]! |= 2;

/** @throws RowNotPublishableError unless the text from `start` to `end` is a user's or SKU's id */
export function requireIdentifier(bytes: Buffer, start: number, end: number, column: string): void {
  const length = end - start;
  let isIdentifier = length >= 1 && length <= LONGEST_IDENTIFIER;
  for (let at = start; at < end && isIdentifier; at += 1) isIdentifier = (KINDS[bytes[at]!]! & 1) !== 0;
  if (!isIdentifier) throw new RowNotPublishableError(column, `is not ${IDENTIFIER_FORM}`);
}

/** @throws RowNotPublishableError unless the text is a UUID, in either case: events are read in lower case */
export function requireUuid(bytes: Buffer, start: number, end: number, column: string): void {
  let isUuid = end - start === UUID_BYTES;
  for (let at = 0; at < UUID_BYTES && isUuid; at += 1) {
    const isDash = at === 8 || at === 13 || at === 18 || at === 23;
    const byte = bytes[start + at]!;
    isUuid = isDash ? byte === DASH : (KINDS[byte]! & 2) !== 0;
  }
  if (!isUuid) throw new RowNotPublishableError(column, `is not ${UUID_FORM}`);
}

/** @throws RowNotPublishableError for an empty text; NUL can't be stored in one */
export function requireText(start: number, end: number, column: string): void {
  if (start >= 0 && start === end) throw new RowNotPublishableError(column, `is not ${TEXT_FORM}`);
}

export function requireQuantity(quantity: number, column: string): number {
  if (quantity < 1 || quantity > LARGEST_QUANTITY)
    throw new RowNotPublishableError(column, `is not from 1 to ${LARGEST_QUANTITY}`);
  return quantity;
}

export function requirePrice(cents: number | bigint, column: string): number | bigint {
  if (cents < 0) throw new RowNotPublishableError(column, 'is below 0');
  return cents;
}
