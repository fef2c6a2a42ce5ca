// Whatever passes by itself: schedules of the real reader and the real sink, from their outermost functions down, against
// models of Postgres, Kafka and the carts database. SIMULATION_RUNS makes it more of them.
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { anyTape, anyWeather, checkSchedules, TEST_LIMIT_MS } from './check-schedules.ts';

describe('two readers and two sinks', () => {
  it(
    'lose nothing, repeat nothing and catch up, whatever is lost, late, stopped, killed or taken over on the way',
    () => {
      return checkSchedules(fc.record({ tape: anyTape, ...anyWeather, isWarm: fc.boolean() }));
    },
    TEST_LIMIT_MS,
  );
});
