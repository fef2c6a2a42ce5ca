import { expect, it } from 'vitest';
import { readParts } from '../../../cart-sink/parts.ts';

it('runs both parts, or the one that is named', () => {
  const both = { api: true, consumer: true };
  expect(readParts(['node', 'main.ts'])).toEqual(both);
  expect(readParts(['node', 'main.ts', '--check-config'])).toEqual(both);
  expect(readParts(['--only', 'api'])).toEqual({ api: true, consumer: false });
  expect(readParts(['--only=consumer', '--check-config'])).toEqual({ api: false, consumer: true });
});

it.each([[['--only']], [['--only', 'sink']], [['--only=']], [['--only', 'api', '--only', 'consumer']]])(
  'refuses %j as bad configuration',
  (args) => {
    expect(() => readParts(args)).toThrow(/--only: expected api or consumer/);
  },
);
