// Whatever does not pass by itself (I11): the same schedules, with one gap made in the midst of them. It ends in a halt
// that is named for it, or it was none and everything is complete.
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { anyTape, anyWeather, checkSchedules, TEST_LIMIT_MS } from './check-schedules.ts';
import { gapNames } from './gaps.ts';

describe('two readers and two sinks', () => {
  it(
    'pass over no gap: they halt by its name, or nothing is missing',
    () => {
      const gap = fc.record({ kind: fc.constantFrom(...gapNames), atTurn: fc.nat(250) });
      const scenario = fc.record({ tape: anyTape, ...anyWeather, isWarm: fc.constant(true), gap });
      return checkSchedules(scenario);
    },
    TEST_LIMIT_MS,
  );
});
