/**
 * Arrays as Postgres reads them from text (array_in), for the parameters of the sink's large statements: `pg` makes the same
 * of JavaScript arrays, through three calls and two expressions an element. Pure.
 */

/** Of numbers, and of texts that hold nothing but letters, digits and `- : . / _` and are no NULL: UUIDs, positions, codes. */
export function plainArray(values: readonly (string | number | bigint | null)[]): string {
  let text = '{';
  for (let index = 0; index < values.length; index += 1) text += `${index === 0 ? '' : ','}${values[index] ?? 'NULL'}`;
  return `${text}}`;
}

/** Of any texts. */
export function textArray(values: readonly string[]): string {
  let text = '{';
  for (let index = 0; index < values.length; index += 1)
    text += `${index === 0 ? '"' : ',"'}${escapeText(values[index]!)}"`;
  return `${text}}`;
}

const escapeText = (text: string): string => (/["\\]/.test(text) ? text.replace(/["\\]/g, '\\$&') : text);
