// Runs schedules of one kind under fast-check, and says how to run a failing one again. A tape of bytes is all that
// decides, so a failure shrinks to a short tape, and its trace to the steps that matter.
import process from 'node:process';
import fc from 'fast-check';
import { gaps } from './gaps.ts';
import { judgeCarts } from './judge-carts.ts';
import { demand, judgeConfirmation, judgeLog } from './judge-log.ts';
import { type Scenario, Simulation } from './simulation.ts';

/** Long ones meet much, and recover from most of it; short ones end right behind a fault, with nothing that follows. */
export const anyTape = fc.oneof(
  fc.uint8Array({ maxLength: 700, size: 'max' }),
  fc.uint8Array({ maxLength: 200, size: 'max' }),
);

/** From a quiet day to everything at once; a reader that fails in every tenth step would never come to publish. */
export const anyWeather = {
  faults: fc.record({ reader: fc.constantFrom(1, 0, 4, 12), sink: fc.constantFrom(1, 0, 12, 48) }),
  trouble: fc.constantFrom(32, 0, 96, 256),
};

const SHRINK_LIMIT_MS = 20_000;
/** A schedule takes some 4 ms, and has been seen to take 90 on a machine with twenty times more to do than cores. */
const LONGEST_RUN_MS = 250;
/** The longest that a test of schedules may take. */
export const TEST_LIMIT_MS = 3_600_000;

/** What `npm run check` has the time for; `npm test` runs twelve times as many. */
const USUAL_RUNS = 50;

/** SIMULATION_RUNS: how many schedules. SIMULATION_SEED and SIMULATION_PATH, as a failure prints them, run it again. */
export async function checkSchedules(scenario: fc.Arbitrary<Scenario>): Promise<void> {
  const { SIMULATION_RUNS: runs, SIMULATION_SEED: seed, SIMULATION_PATH: path } = process.env;
  const numRuns = Number(runs ?? USUAL_RUNS);
  await fc.assert(fc.asyncProperty(scenario, judge), {
    numRuns,
    // Shrinking tries thousands of tapes; then what it has found by now must do.
    interruptAfterTimeLimit: SHRINK_LIMIT_MS + LONGEST_RUN_MS * numRuns,
    markInterruptAsFailure: true,
    ...(seed !== undefined && { seed: Number(seed) }),
    ...(path !== undefined && { path }),
  });
}

/** @throws what is wrong, with the trace of the run */
async function judge(scenario: Scenario): Promise<void> {
  const simulation = new Simulation(scenario);
  const { world, halts } = simulation;
  const release = takeClock(simulation);
  try {
    let wrongConfirmation: unknown;
    simulation.postgres.onConfirmed = (throughLsn) => {
      try {
        judgeConfirmation(simulation, throughLsn);
      } catch (error) {
        wrongConfirmation ??= error;
      }
    };
    await simulation.run();
    if (wrongConfirmation !== undefined) throw wrongConfirmation;
    const allowed = scenario.gap === undefined ? undefined : gaps[scenario.gap.kind];
    for (const { who, error } of halts) {
      const isAllowed = allowed?.halts.includes(error.code) === true;
      demand(isAllowed, () => `I8, I11: a ${who} halts with ${error.code}: ${error.message}`);
    }
    demand(!simulation.isLogLost || halts.length > 0, () => 'I11: the log is lost, and nobody halts');
    judgeCarts(simulation, judgeLog(simulation));
  } catch (error) {
    throw new Error(`${(error as Error).message}\n\nThe last steps were:\n${world.formatTrace()}`, { cause: error });
  } finally {
    release();
  }
}

/** Makes the run's clock and randomness those of everything that runs, for as long as it does. */
function takeClock({ world }: Simulation): () => void {
  const { setTimeout: realSetTimeout, clearTimeout: realClearTimeout } = globalThis;
  const { random: realRandom } = Math;
  const { now: realNow } = Date;
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0; // thousands of errors are part of every run; the trace tells where they come from
  const virtualSetTimeout = (fire: () => void, ms: number) => {
    const timer = { isCleared: false };
    world.after(ms, 'timeout', fire, { owner: world.current, isOff: () => timer.isCleared });
    return timer;
  };
  const virtualClearTimeout = (timer: { isCleared: boolean } | undefined) => {
    if (timer !== undefined) timer.isCleared = true;
  };
  Object.assign(globalThis, { setTimeout: virtualSetTimeout, clearTimeout: virtualClearTimeout });
  Object.assign(performance, { now: () => world.nowMs });
  Math.random = () => world.random();
  Date.now = () => world.nowMs;
  return () => {
    Object.assign(globalThis, { setTimeout: realSetTimeout, clearTimeout: realClearTimeout });
    Reflect.deleteProperty(performance, 'now');
    Math.random = realRandom;
    Date.now = realNow;
    Error.stackTraceLimit = stackTraceLimit;
  };
}
