/**
 * A Postgres log sequence number: a byte position in the write-ahead log, an unsigned 64-bit integer.
 *
 * Branded, so that a position in the log can't be mixed up with a count, a price or an offset; a bigint, because
 * a double loses the last bits above 2^53. Arithmetic on positions belongs to the reader's one module for it.
 */
export type Lsn = bigint & { readonly __brand: 'Lsn' };

const LARGEST = 2n ** 64n - 1n;
const TEXT = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;

/** Postgres's own "no position": nothing is ever written there. */
export const LSN_ZERO = 0n as Lsn;

/** @throws RangeError when `value` is no unsigned 64-bit integer. */
export function toLsn(value: bigint): Lsn {
  if (value < 0n || value > LARGEST) throw new RangeError(`${value} is no LSN: expected 0 to 2^64-1`);
  return value as Lsn;
}

/**
 * Reads Postgres's text form: the high and the low 32 bits in hexadecimal, any case, leading zeros allowed.
 * @throws RangeError naming the expected form.
 */
export function parseLsn(text: string): Lsn {
  const match = TEXT.exec(text);
  if (match === null) throw new RangeError(`${JSON.stringify(text)} is no LSN: expected X/Y in hex, like 0/16B3748`);
  return ((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)) as Lsn;
}

/** Postgres's own form (upper case, no leading zeros), equal to what `pg_lsn::text` prints. */
export function formatLsn(lsn: Lsn): string {
  const high = (lsn >> 32n).toString(16).toUpperCase();
  const low = (lsn & 0xffff_ffffn).toString(16).toUpperCase();
  return `${high}/${low}`;
}

export function maxLsn(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b;
}
