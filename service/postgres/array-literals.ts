/**
 * Arrays as Postgres reads them from text (array_in), for the parameters of the sink's large statements: `pg` makes the same
 * of JavaScript arrays, through three calls and two expressions an element. Pure.
 */

/** Of numbers, and of texts that hold nothing but letters, digits and `- : . / _` and are no NULL: UUIDs, positions, codes. */
export function plainArray(values: readonly (string | number | bigint | null)[]): string {
  const known = values.includes(null) ? values.map((value) => value ?? 'NULL') : values;
  return `{${known.join(',')}}`;
}

/** Of any texts. */
export function textArray(values: readonly string[]): string {
  if (values.length === 0) return '{}';
  const escaped = values.some((text) => UNSAFE.test(text)) ? values.map(escapeText) : values;
  return `{"${escaped.join('","')}"}`;
}

const UNSAFE = /["\\]/;
const escapeText = (text: string): string => text.replace(/["\\]/g, '\\$&');
