// The wrong rule that tests deploy is the present one but for what it says, also after the rule's source has changed.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { expect, it } from 'vitest';

const repository = join(import.meta.dirname, '..', '..');
const ask = `
  import { RULE_VERSION, reduceCart } from './cart-sink/reduce-cart.ts';
  const items = [{ lineNo: 1, sku: 'tea', quantity: 2, cartLineId: null }];
  const { removals } = reduceCart([{ lineId: 'line', userId: 'ada', sku: 'tea', quantity: 9 }], { userId: 'ada', source: 'cart', items });
  console.log(JSON.stringify([RULE_VERSION, removals[0].removed]));
`;
const run = (...flags: string[]) => {
  const args = [...flags, '--input-type=module-typescript', '--eval', ask];
  return JSON.parse(execFileSync(process.execPath, args, { cwd: repository, encoding: 'utf8' }));
};

it('a process that preloads it has version 0 of the rule and takes double; one that does not has the right rule', () => {
  expect(run('--import', './test/support/wrong-rule.ts')).toEqual([0, 4]);
  expect(run()).toEqual([1, 2]);
});

it('a rule that reads otherwise is refused, instead of run as it is', async () => {
  const source = readFileSync(join(repository, 'cart-sink', 'reduce-cart.ts'), 'utf8');
  const { distortRule } = await import('../support/wrong-rule.ts');
  expect(distortRule(source)).toContain('RULE_VERSION = 0;');
  expect(() => distortRule(source.replace('RULE_VERSION = 1', 'RULE_VERSION = 2'))).toThrow('no longer reads');
});
