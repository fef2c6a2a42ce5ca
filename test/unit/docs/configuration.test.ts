// The tables of docs/configuration.md against the variables that the programs read: same names, same defaults, same
// descriptions, same sequence, none left out. When one fails, paste what it expected into the page.
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Variable } from '#service/environment.ts';
import { cartSinkVariables } from '../../../cart-sink/config.ts';
import { cdcReaderVariables } from '../../../cdc-reader/config.ts';
import { stackVariables } from '../../../dev/start/stack-config.ts';
import { orderApiVariables } from '../../../order-api/config.ts';

const page = readFileSync(join(import.meta.dirname, '..', '..', '..', 'docs', 'configuration.md'), 'utf8');
const MAX_CELL = 120;

/** Below the heading `## <name>`: the rows of the table without its head, and the notes on them. */
function readTable(name: string): string[] {
  const [, section = ''] = page.split(`\n## ${name}\n`);
  const rows = section.split(/\n#/)[0]!.split('\n');
  return rows.filter((line) => line.startsWith('| `') || line.startsWith('- `'));
}

/** A row a variable. The second half of a description that is too long for a cell becomes a note below the table. */
function formatTable(variables: Readonly<Record<string, Variable<unknown>>>): string[] {
  const notes: string[] = [];
  const rows = Object.values(variables).map(({ name, fallback, optional, isSecret, description }) => {
    if (description.includes('|')) throw new Error(`A description with a | breaks the table: ${name}`);
    const isLong = description.length > MAX_CELL;
    const [cell, ...rest] = isLong ? description.split('; ') : [description];
    if (rest.length > 0) notes.push(`- \`${name}\`: ${rest.join('; ')}`);
    const names = isSecret === true ? `\`${name}\`, \`${name}_FILE\`` : `\`${name}\``;
    return `| ${names} | ${formatDefault(fallback, optional === true)} | ${cell} |`;
  });
  return [...rows, ...notes];
}

function formatDefault(fallback: string | undefined, optional: boolean): string {
  if (fallback === undefined) return optional ? '' : '*required*';
  return fallback === tmpdir() ? 'the system’s temporary folder' : `\`${fallback}\``;
}

describe('docs/configuration.md lists every variable, with its default and what it is for,', () => {
  it.each([
    ['order-api', orderApiVariables],
    ['cdc-reader', cdcReaderVariables],
    ['cart-sink', cartSinkVariables],
    ['npm start', stackVariables],
  ] as const)('of %s', (name, variables) => {
    const expected = formatTable(variables);
    expect(readTable(name), `Under "## ${name}" there should be:\n${expected.join('\n')}\n`).toEqual(expected);
  });
});
