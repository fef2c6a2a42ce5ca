// The picture of the figures: which way each figure goes.
import { expect, it } from 'vitest';
import { share } from '../../../../bench/report/plot.ts';

it.each([
  ['a ratio that must be at least 1.4', { value: 0.7, must: 1.4, stretch: 2 }, 0.5],
  ['a time that must be at most 8', { value: 16, must: 8, stretch: 5 }, 0.5],
  ['one whose stretch is its must', { value: 0.25, must: 0.5, stretch: 0.5 }, 2],
])('%s', (name, figure, expected) => {
  expect(share({ name, met: true, ...figure })).toBeCloseTo(expected);
});
