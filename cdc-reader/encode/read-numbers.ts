// Integers and times as Postgres prints them, read from their bytes. Guarantees: no digit is lost (a number that a double
// can't hold is a bigint); whatever is no finite number or time of that form is an error that names the column. Pure.
import { RowNotPublishableError } from './unpublishable-errors.ts';

const ZERO = 0x30;
const MINUS = 0x2d;
/** A double holds every integer of so many digits. */
const EXACT_DIGITS = 15;
const LARGEST_LONG = 2n ** 63n - 1n;

/** @throws RowNotPublishableError for NULL (`start` below 0), and what is no integer of 64 bits */
export function readInteger(bytes: Buffer, start: number, end: number, column: string): number | bigint {
  const isNegative = bytes[start] === MINUS;
  const from = isNegative ? start + 1 : start;
  let value = 0;
  let isInteger = start >= 0 && from < end;
  for (let at = from; at < end; at++) {
    const digit = bytes[at]! - ZERO;
    if (digit < 0 || digit > 9) isInteger = false;
    value = value * 10 + digit;
  }
  if (!isInteger) throw new RowNotPublishableError(column, 'holds something that is not an integer');
  if (end - from <= EXACT_DIGITS) return isNegative ? -value : value;
  const exact = BigInt(bytes.toString('latin1', start, end));
  if (exact > LARGEST_LONG || exact < -LARGEST_LONG - 1n) {
    throw new RowNotPublishableError(column, 'holds a number of more than 64 bits');
  }
  return exact;
}

const DAY_MS = 86_400_000;
/** Where every microsecond count, and twice it, is exact in a double: from 1828 to 2112. */
const EXACT_MS = 2 ** 52 / 1000;
/** After the year: -MM-DD HH:MM:SS, where 0 stands for a digit. */
const FORM = Buffer.from('-00-00 00:00:00');

/**
 * Microseconds since 1970 of a `timestamptz` as a session with DateStyle ISO and TimeZone UTC prints it.
 * @throws RowNotPublishableError for NULL, `infinity`, years before Christ, and other offsets than +00
 */
export function readTimestampMicros(bytes: Buffer, start: number, end: number): number | bigint {
  let year = 0;
  let at = start;
  for (; at < end && isDigit(bytes[at]!); at++) year = year * 10 + bytes[at]! - ZERO;
  const yearDigits = at - start;
  if (start < 0 || yearDigits < 4 || yearDigits > 6 || !hasForm(bytes, at, end)) throw refuseTime();
  const two = (offset: number) => (bytes[at + offset]! - ZERO) * 10 + bytes[at + offset + 1]! - ZERO;
  const days = daysFromCivil(year, two(1), two(4));
  const ms = days * DAY_MS + two(7) * 3_600_000 + two(10) * 60_000 + two(13) * 1000;
  at += FORM.length;
  let fraction = 0;
  if (bytes[at] === 0x2e) {
    const first = at + 1;
    for (at = first; at < end && isDigit(bytes[at]!); at++) fraction = fraction * 10 + bytes[at]! - ZERO;
    const digits = at - first;
    if (digits < 1 || digits > 6) throw refuseTime();
    fraction *= 10 ** (6 - digits);
  }
  if (end - at !== 3 || bytes[at] !== 0x2b || bytes[at + 1] !== ZERO || bytes[at + 2] !== ZERO) throw refuseTime();
  if (ms < EXACT_MS && ms > -EXACT_MS) return ms * 1000 + fraction;
  return BigInt(ms) * 1000n + BigInt(fraction);
}

/** As {@link readTimestampMicros}, of text. */
export function parseTimestampMicros(text: string | null): bigint {
  const bytes = Buffer.from(text ?? '', 'utf8');
  return BigInt(readTimestampMicros(bytes, 0, bytes.length));
}

function hasForm(bytes: Buffer, at: number, end: number): boolean {
  if (at + FORM.length > end) return false;
  for (let offset = 0; offset < FORM.length; offset++) {
    const expected = FORM[offset]!;
    const byte = bytes[at + offset]!;
    if (expected === ZERO ? !isDigit(byte) : byte !== expected) return false;
  }
  return true;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= ZERO + 9;
}

/** Days since 1970-01-01 in the Gregorian calendar (H. Hinnant, chrono-compatible low-level date algorithms). */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  return (
    era * 146_097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719_468
  );
}

function refuseTime(): RowNotPublishableError {
  return new RowNotPublishableError('orders.placed_at', 'holds something that is not a finite UTC timestamp');
}
