// compose.yaml as an engine reads it: anchors, merges and the variables of .env resolved. Guarantees: a variable that .env lacks
// is an error, as `:?` makes it. What a service means by a value is left to the tests.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

export const repository = join(import.meta.dirname, '..', '..');
export const composeText = readFileSync(join(repository, 'compose.yaml'), 'utf8');

/** As far as the tests need it. */
export interface ComposeService {
  readonly image: string;
  readonly command?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly environment: Readonly<Record<string, string | number>>;
  readonly volumes?: readonly string[];
  readonly networks: readonly string[];
  readonly ports?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly [setting: string]: unknown;
}

/** `merge`: YAML 1.1 has `<<`, and engines take it. */
const file = parse(composeText, { merge: true }) as { services: Record<string, ComposeService> };

export const composeServices: ReadonlyMap<string, ComposeService> = new Map(Object.entries(file.services));

/** @throws Error for a name that compose.yaml does not have */
export function serviceOf(name: string): ComposeService {
  const service = composeServices.get(name);
  if (service === undefined) throw new Error(`compose.yaml has no service ${name}.`);
  return service;
}

/** What a container of `service` gets, with the passwords of `dotEnv`. */
export function environmentOf(name: string, dotEnv: ReadonlyMap<string, string>): Record<string, string> {
  const resolve = (value: string | number) =>
    String(value).replaceAll(/\$\{(\w+):\?[^}]*\}/g, (_, variable: string) => {
      const password = dotEnv.get(variable);
      if (password === undefined) throw new Error(`.env has no ${variable}, which ${name} needs.`);
      return password;
    });
  return Object.fromEntries(
    Object.entries(serviceOf(name).environment).map(([variable, value]) => [variable, resolve(value)]),
  );
}

export function readDotEnv(path: string): ReadonlyMap<string, string> {
  const lines = readFileSync(path, 'utf8').split('\n');
  return new Map(
    lines.filter((line) => line.includes('=')).map((line) => [line.split('=', 1)[0]!, line.replace(/^\w+=/, '')]),
  );
}
