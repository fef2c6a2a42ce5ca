// Every halt code of the product, out of its source text: what the pages and the table over all halts must have.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const repository = join(import.meta.dirname, '..', '..', '..');
const sources = globSync(
  ['order-api', 'cdc-reader', 'cart-sink', 'kafka', 'service', 'tools'].map((folder) => `${folder}/**/*.ts`),
  { cwd: repository },
).map((path) => readFileSync(join(repository, path), 'utf8'));

/** Codes of the classes that extend HaltError, directly or through one of their own. */
export function findHaltCodes(): string[] {
  const classes = sources.flatMap((text) =>
    [...text.matchAll(/class (\w+) extends (\w+) \{(.*?)\n\}/gs)].map(([, name, parent, body]) => ({
      name: name!,
      parent: parent!,
      code: /readonly code = '(\w+)'/.exec(body!)?.[1],
    })),
  );
  const parentOf = new Map(classes.map(({ name, parent }) => [name, parent]));
  const isHalt = (name: string | undefined): boolean => name === 'HaltError' || (!!name && isHalt(parentOf.get(name)));
  return [
    ...new Set(classes.flatMap(({ parent, code }) => (code !== undefined && isHalt(parent) ? [code] : []))),
  ].toSorted();
}
