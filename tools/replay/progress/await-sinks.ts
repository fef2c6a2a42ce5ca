// Waits for the sinks, as long as it takes: replay_results has what they have done with a run, written by the transactions that
// did it. Guarantees: the operator sees the progress, each partition that halts, and possible reasons whenever nothing has
// moved for a while.
import { setTimeout as delay } from 'node:timers/promises';
import type { ReplayPlan } from '#schemas/replay/plan.ts';
import type { Connections } from '../cli/connections.ts';
import type { Talk } from '../cli/operator.ts';
import { type RunResult, readResults } from '../run/run-records.ts';
import { countHandled } from '../run/verdict.ts';
import { explainStall } from './explain-stall.ts';
import { describeHaltedPartitions } from './halted.ts';

const POLL_EVERY_MS = 200;
/** A running sink checks a paused partition every 2 s, and takes over from a dead one within 10 s. */
const STALLED_AFTER_MS = 20_000;

/** Resolves with the results that are enough. `total`: orders published. @throws the signal's reason */
export async function awaitSinks(
  connections: Connections,
  plan: ReplayPlan,
  total: number,
  isEnough: (results: ReadonlyMap<number, RunResult>) => boolean,
  { operator, signal }: Talk,
): Promise<ReadonlyMap<number, RunResult>> {
  let last = '';
  let movedMs = performance.now();
  let named: readonly string[] = [];
  for (;;) {
    signal.throwIfAborted();
    const results = await readResults(connections.carts, plan.runId, connections.config.consumerGroup);
    const handled = [...results.values()].reduce((sum, result) => sum + countHandled(result), 0n);
    operator.show('applying', Number(handled), total);
    if (isEnough(results)) return results;
    const halted = await describeHaltedPartitions(connections);
    operator.print(halted.filter((line) => !named.includes(line)));
    named = halted;
    const now = [...results.values()].map((result) => `${result.partition}:${result.updatedAt.getTime()}`).join();
    if (now !== last || performance.now() - movedMs >= STALLED_AFTER_MS) {
      if (now === last) operator.print(await explainStall(connections, plan, results));
      last = now;
      movedMs = performance.now();
    }
    // An abort ends the delay; the loop's first line throws its reason.
    await delay(POLL_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}
