// The picture of the figures: made from the committed figures, and the way that each figure goes.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { plotFigures, share } from '../../../../bench/report/plot.ts';

const folder = join(import.meta.dirname, '..', '..', '..', '..', '..', 'docs', 'performance');

it.each([
  ['a ratio that must be at least 1.4', { value: 0.7, must: 1.4, stretch: 2 }, 0.5],
  ['a time that must be at most 8', { value: 16, must: 8, stretch: 5 }, 0.5],
  ['one whose stretch is its must', { value: 0.25, must: 0.5, stretch: 0.5 }, 2],
])('%s', (name, figure, expected) => {
  expect(share({ name, met: true, ...figure })).toBeCloseTo(expected);
});

it('the committed picture is that of the committed figures', () => {
  const figures = JSON.parse(readFileSync(join(folder, 'figures.json'), 'utf8'));
  const fresh = 'npm run bench -- all --json docs/performance/figures.json makes both';
  expect(readFileSync(join(folder, 'figures.svg'), 'utf8'), fresh).toBe(plotFigures(figures));
});
