import { describe, expect, it } from 'vitest';
import { checkStart } from '../../../../cart-sink/consume/offset-checks.ts';

describe('where a partition may start', () => {
  it.each([
    { stored: 0n, earliest: 0n, highWatermark: 0n, verdict: 'continues' },
    { stored: 7n, earliest: 0n, highWatermark: 7n, verdict: 'continues' },
    { stored: 7n, earliest: 7n, highWatermark: 9n, verdict: 'continues' },
    { stored: 7n, earliest: 8n, highWatermark: 9n, verdict: 'records-lost' },
    { stored: 0n, earliest: 1n, highWatermark: 9n, verdict: 'records-lost' },
    { stored: 10n, earliest: 0n, highWatermark: 9n, verdict: 'beyond-end' },
    { stored: 3n, earliest: 0n, highWatermark: 0n, verdict: 'beyond-end' },
  ])('is $verdict for $stored in $earliest to $highWatermark', ({ stored, verdict, ...range }) => {
    expect(checkStart(stored, range)).toBe(verdict);
  });
});
