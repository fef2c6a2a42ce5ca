// The table over all halts against the product: no halt code is missing, none is left over, and tests that rows name exist.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseCommands } from '../../../../support/halts/follow.ts';
import { coveredHalts, haltCases } from '../../../../support/halts/table.ts';
import { findHaltCodes } from '../../../docs/halt-codes.ts';

const repository = join(import.meta.dirname, '..', '..', '..', '..', '..');

describe('the table over all halts', () => {
  it('has one row for every halt code of the product, and no other', () => {
    const codes = [...haltCases, ...coveredHalts].map(({ code }) => code);
    expect(codes.toSorted()).toEqual(findHaltCodes());
  });

  it('names only tests that exist', () => {
    for (const { file, test } of coveredHalts) {
      expect(globSync(file, { cwd: repository })).toEqual([file]);
      expect(readFileSync(join(repository, file), 'utf8')).toContain(`'${test}'`);
    }
  });
});

describe('the commands of a message', () => {
  it('are those in backticks that a person can paste, each once', () => {
    const message =
      'The slot is lost. Run `npm run adopt -- reader`, with `max_slot_wal_keep_size` raised, then `npm run adopt -- reader` again, ' +
      'or `kafka-configs.sh --alter --topic x`, `A=B C=D npm run cdc-reader`, `SELECT 1`.';
    expect(parseCommands(message)).toEqual([
      'npm run adopt -- reader',
      'kafka-configs.sh --alter --topic x',
      'A=B C=D npm run cdc-reader',
      'SELECT 1',
    ]);
  });
});
