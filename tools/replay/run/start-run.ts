// `npm run replay -- --from-lsn …`, top to bottom: plans, shows the plan, asks, and carries the run out. Guarantees: nothing is
// changed before the answer; one run at a time, and none begins while another is unfinished. A dry run takes no lock and
// leaves no trace.
import { randomUUID } from 'node:crypto';
import type { ReplayPlan } from '#schemas/replay/plan.ts';
import type { OrderPreview } from '../../../cart-sink/apply/preview-replay.ts';
import type { ReplayRequest } from '../cli/arguments.ts';
import type { Connections } from '../cli/connections.ts';
import { exitCodes, RunBusyError } from '../cli/errors.ts';
import type { Talk } from '../cli/operator.ts';
import { renderPlan, renderPreview } from '../cli/render.ts';
import { makePlan } from '../plan/make-plan.ts';
import { describeHaltedPartitions } from '../progress/halted.ts';
import { readProgress } from '../progress/progress-log.ts';
import { type PipelineState, readPipelineState } from '../sources/pipeline-state.ts';
import { carryOut } from './carry-out.ts';
import { findRun, type RunRecord, readUnfinished, storeRun, withRunLock } from './run-records.ts';

/** The exit code. */
export async function startRun(connections: Connections, request: ReplayRequest, talk: Talk): Promise<number> {
  if (request.dryRun) {
    await planAndShow(connections, request, talk);
    return exitCodes.done;
  }
  const { carts, config } = connections;
  return await withRunLock(carts, config.replayTopic, async () => {
    await requireNoUnfinished(connections);
    const { plan, state } = await planAndShow(connections, request, talk);
    if (plan.survey.orders === 0) return exitCodes.done;
    await talk.operator.requireYes('Start this replay?', request.yes, talk.signal);
    await storeRun(carts, plan);
    talk.operator.print([`Run ${plan.runId}`]);
    return await carryOut(connections, state, plan, talk);
  });
}

async function planAndShow(
  connections: Connections,
  request: ReplayRequest,
  { operator, signal }: Talk,
): Promise<{ plan: ReplayPlan; state: PipelineState }> {
  operator.print(await describeHaltedPartitions(connections));
  const state = await readPipelineState(connections);
  const onProgress = (orders: number) => operator.show('reading orders:', orders, 0);
  // Only a dry run lists the orders: after a change of the rule they would fill the terminal.
  let shown = 0;
  const onPreview = (order: OrderPreview) => {
    if (shown === 0) operator.print(['Orders that would change something']);
    shown += 1;
    operator.print(renderPreview(order));
  };
  const listener = { onProgress, print: operator.print, onPreview: request.dryRun ? onPreview : undefined };
  const plan = await makePlan(connections, state, request, { runId: randomUUID(), signal, ...listener });
  operator.print(renderPlan(plan));
  if (plan.survey.orders === 0) operator.print(['There is nothing to replay.']);
  else if (request.dryRun) operator.print(['A dry run: nothing was changed.']);
  return { plan, state };
}

/** @throws RunBusyError */
async function requireNoUnfinished({ carts, log, config }: Connections): Promise<void> {
  const [unfinished] = await readUnfinished(carts);
  if (unfinished !== undefined) throw createBusyError(unfinished);
  // A carts database that was restored lacks runs that are in the topic. The sinks hold them, and whatever comes behind.
  const newest = await readProgress(log, config.replayTopic, undefined, 'stable');
  if (newest === null || (await findRun(carts, newest.plan.runId)) !== undefined) return;
  const { runId } = newest.plan;
  throw new RunBusyError(
    `run ${runId} is in ${config.replayTopic}, and this carts database does not know it: it was restored to before the run. ` +
      `The sinks hold it, and would hold a new run behind it. Pass it over first: npm run replay -- pass-over ${runId}`,
  );
}

function createBusyError({ runId, state }: Pick<RunRecord, 'runId' | 'state'>): RunBusyError {
  return new RunBusyError(
    `run ${runId} is unfinished (${state}): one run at a time. Continue it with npm run replay -- resume ${runId}, or give ` +
      `it up with npm run replay -- cancel ${runId}`,
  );
}
