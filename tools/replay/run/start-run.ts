// `npm run replay -- --from-lsn …`: plan, show, ask, and carry out. Guarantees: nothing is changed before the answer; one
// run at a time, and none begins while another is unfinished. A dry run takes no lock and leaves no trace.

import { randomUUID } from 'node:crypto';
import type { ReplayRequest } from '../cli/arguments.ts';
import type { Connections } from '../cli/connections.ts';
import { exitCodes, RunBusyError } from '../cli/errors.ts';
import type { Operator } from '../cli/operator.ts';
import { renderPlan, renderPreview } from '../cli/render.ts';
import { makePlan } from '../plan/make-plan.ts';
import { readPipelineState } from '../plan/pipeline-state.ts';
import { readProgress } from '../progress/progress-log.ts';
import { carryOut } from './carry-out.ts';
import { findRunState, type RunRecord, readUnfinished, storeRun, withRunLock } from './run-records.ts';

/** The exit code. */
export function startRun(
  connections: Connections,
  request: ReplayRequest,
  talk: { readonly operator: Operator; readonly signal: AbortSignal },
): Promise<number> {
  if (request.dryRun) return planAndShow(connections, request, talk).then(() => exitCodes.done);
  const { carts, config } = connections;
  return withRunLock(carts, config.replayTopic, async () => {
    await requireNoUnfinished(connections);
    const { plan, state } = await planAndShow(connections, request, talk);
    if (plan.survey.orders === 0) return exitCodes.done;
    if (!request.yes && !(await talk.operator.confirm('Go on?', talk.signal))) {
      talk.operator.print(['Nothing was changed.']);
      return exitCodes.done;
    }
    await storeRun(carts, plan);
    talk.operator.print([`Run ${plan.runId}`]);
    return finish(connections, state, plan, talk);
  });
}

/** Carries a run on, and says how to go on where it ends early. */
export async function finish(
  connections: Connections,
  state: Parameters<typeof carryOut>[1],
  plan: Parameters<typeof carryOut>[2],
  talk: Parameters<typeof carryOut>[3],
): Promise<number> {
  try {
    return (await carryOut(connections, state, plan, talk)) ? exitCodes.done : exitCodes.failed;
  } catch (error) {
    talk.operator.print([
      `The run is not finished. Go on with: npm run replay -- resume ${plan.runId}`,
      `Give it up with:                     npm run replay -- cancel ${plan.runId}`,
    ]);
    throw error;
  }
}

async function planAndShow(
  connections: Connections,
  request: ReplayRequest,
  { operator, signal }: { readonly operator: Operator; readonly signal: AbortSignal },
) {
  const state = await readPipelineState(connections);
  const onProgress = (orders: number) => operator.show('looking through orders:', orders, 0);
  // A rule that changed much would fill the terminal: who wants to read it asks for a dry run.
  let shown = 0;
  const onPreview = request.dryRun
    ? (order: Parameters<typeof renderPreview>[0]) => {
        if (shown === 0) operator.print(['Orders that would change something']);
        shown += 1;
        operator.print(renderPreview(order));
      }
    : undefined;
  const plan = await makePlan(connections, state, request, { runId: randomUUID(), signal, onProgress, onPreview });
  operator.print(renderPlan(plan));
  if (plan.survey.orders === 0) operator.print(['There is nothing to replay.']);
  else if (request.dryRun) operator.print(['A dry run: nothing was changed.']);
  return { plan, state };
}

/** @throws RunBusyError */
async function requireNoUnfinished({ carts, log, config }: Connections): Promise<void> {
  const [unfinished] = await readUnfinished(carts);
  if (unfinished !== undefined) throw refuse(unfinished);
  // A carts database that was restored has forgotten runs that the topic knows of.
  const newest = await readProgress(log, config.replayTopic, undefined, 'settled');
  if (newest === null || newest.state === 'done') return;
  if ((await findRunState(carts, newest.plan.runId)) !== undefined) return;
  await storeRun(carts, newest.plan);
  throw refuse({ runId: newest.plan.runId, state: 'publishing' });
}

function refuse({ runId, state }: Pick<RunRecord, 'runId' | 'state'>): RunBusyError {
  const what = `run ${runId} is unfinished (${state}): one run at a time`;
  return new RunBusyError(
    `${what}. Go on with npm run replay -- resume ${runId}, or give it up with npm run replay -- cancel ${runId}`,
  );
}
