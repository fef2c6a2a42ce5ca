// Node's flags bound the memory of every service; the three places that start one must agree.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { serviceFlags } from '../../../../dev/start/service-flags.ts';

const repository = join(import.meta.dirname, '..', '..', '..', '..');
const read = (file: string) => readFileSync(join(repository, file), 'utf8');

it.each(['order-api', 'cdc-reader', 'cart-sink'])('npm run %s starts Node with the services flags', (service) => {
  expect(JSON.parse(read('package.json')).scripts[service]).toBe(
    `NODE_COMPILE_CACHE=node_modules/.cache/node exec node ${serviceFlags.join(' ')} ${service}/main.ts`,
  );
});

it('the image starts Node with the services flags', () => {
  const entryPoint = ['node', ...serviceFlags].map((word) => `"${word}"`).join(', ');
  expect(read('Dockerfile')).toContain(`\nENTRYPOINT [${entryPoint}]\n`);
});
