// A mutant that no longer fits the code would silently stop being a control.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mutants, mutate, StaleMutantError } from '../../../controls/mutants.ts';

const repository = join(import.meta.dirname, '..', '..', '..', '..');

test.each(mutants)('the control $name still fits what it breaks, and its tests exist', (mutant) => {
  const text = readFileSync(join(repository, mutant.file), 'utf8');
  expect(mutate(text, mutant)).not.toBe(text);
  expect(mutant.tests.length).toBeGreaterThan(0);
  for (const path of mutant.tests) {
    expect(existsSync(join(repository, path)), path).toBe(true);
    if (mutant.testName !== undefined) expect(readFileSync(join(repository, path), 'utf8')).toContain(mutant.testName);
  }
});

test('controls have names of their own, and there are at least ten', () => {
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
  expect(mutants.length).toBeGreaterThanOrEqual(10);
});

test('a mutant whose text is missing or there twice is stale', () => {
  const mutant = { ...mutants[0]!, find: 'a', replace: '$&' };
  expect(() => mutate('b', mutant)).toThrow(StaleMutantError);
  expect(() => mutate('aa', mutant)).toThrow(/occurs 2 times/);
  expect(mutate('bab', mutant)).toBe('b$&b');
});
