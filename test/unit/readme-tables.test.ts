// The README's tables of variables against the variables that the programs really read: same names, same defaults, same
// descriptions, same order, none left out. When one fails, paste what it expected into the README.
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Variable } from '#service/environment.ts';
import { cartSinkVariables } from '../../cart-sink/config.ts';
import { cdcReaderVariables } from '../../cdc-reader/config.ts';
import { stackVariables } from '../../dev/stack-config.ts';
import { orderApiVariables } from '../../order-api/config.ts';

const readme = readFileSync(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8');

/** The rows below the heading `### <name>`, without the table's own head. */
function readTable(name: string): string[] {
  const [, section = ''] = readme.split(`\n### ${name}\n`);
  const rows = section.split(/\n#/)[0]!.split('\n');
  return rows.filter((line) => line.startsWith('| `'));
}

function formatTable(variables: Readonly<Record<string, Variable<unknown>>>): string[] {
  return Object.values(variables).map(({ name, fallback, optional, description }) => {
    if (description.includes('|')) throw new Error(`A description with a | breaks the table: ${name}`);
    return `| \`${name}\` | ${formatDefault(fallback, optional === true)} | ${description} |`;
  });
}

function formatDefault(fallback: string | undefined, optional: boolean): string {
  if (fallback === undefined) return optional ? '' : '*required*';
  return fallback === tmpdir() ? 'the system’s temporary folder' : `\`${fallback}\``;
}

describe('the README lists every variable, with its default and what it is for,', () => {
  it.each([
    ['order-api', orderApiVariables],
    ['cdc-reader', cdcReaderVariables],
    ['cart-sink', cartSinkVariables],
    ['npm start', stackVariables],
  ] as const)('of %s', (name, variables) => {
    const expected = formatTable(variables);
    expect(readTable(name), `The table under "### ${name}" should be:\n${expected.join('\n')}\n`).toEqual(expected);
  });
});

describe('the README', () => {
  it('names only npm scripts that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const named = [...readme.matchAll(/\bnpm run ([a-z][\w:-]*)/g)].map(([, name]) => name!);
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });
});
