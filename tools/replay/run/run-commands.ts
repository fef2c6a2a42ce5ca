// The other commands: `coverage`, `status`, `resume` and `cancel`. Guarantees: coverage changes nothing, and status keeps a
// finished run's proof only; resume follows
// the run's own plan, whatever is configured now; cancel fences the process that publishes the run.

import { formatLsn } from '#schemas/lsn.ts';
import { formatPlan } from '#schemas/replay/plan.ts';
import { countPublished, type Progress } from '#schemas/replay/progress.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import { formatJson } from '../../json-output.ts';
import { keepVerdict } from '../../keep-verdict.ts';
import type { Connections } from '../cli/connections.ts';
import { ArgumentError, exitCodes, PipelineMismatchError } from '../cli/errors.ts';
import type { Talk } from '../cli/operator.ts';
import { renderFields, renderPlan, renderProgress, renderProof, renderRun } from '../cli/render.ts';
import { formatCoverage } from '../plan/choose-source.ts';
import { readProgress } from '../progress/progress-log.ts';
import { readCoverages } from '../sources/open-source.ts';
import { readPipelineState } from '../sources/pipeline-state.ts';
import { carryOut, fenceEarlierRuns } from './carry-out.ts';
import { finishRun, type RunRecord, readResults, readRun, withRunLock } from './run-records.ts';
import { compareSides, formatVerdict, type Proof, summarizeProof } from './verdict.ts';

/** What each source covers. */
export async function showCoverage(connections: Connections, { operator }: Talk): Promise<number> {
  const state = await readPipelineState(connections);
  const { checkpoint, appliedThroughLsn } = state;
  operator.print(
    renderFields('Pipeline', [
      ['published through', `${checkpoint.timeline}:${formatLsn(checkpoint.throughLsn)}`],
      [
        'applied through',
        `${checkpoint.timeline}:${formatLsn(appliedThroughLsn)} by every sink of ${connections.config.consumerGroup}`,
      ],
    ]),
  );
  operator.print(['Coverage', ...(await readCoverages(connections, state)).map((one) => `  ${formatCoverage(one)}`)]);
  return exitCodes.done;
}

/** `json`: one object for programs instead of the lines. */
export async function showStatus(
  connections: Connections,
  runId: string,
  json: boolean,
  { operator }: Talk,
): Promise<number> {
  const { carts, config, log } = connections;
  const run = await readRun(carts, runId);
  const progress = await readProgress(log, config.replayTopic, runId, 'stable');
  const results = await readResults(carts, runId, config.consumerGroup);
  const proof = compareSides(run.plan.partitions, progress?.tallies ?? new Map(), results);
  if (json) operator.print([formatJson(toData(run, progress, proof)).trimEnd()]);
  else {
    operator.print([...renderRun(run), ...renderPlan(run.plan), ...renderProgress(progress)]);
    operator.print(renderProof(proof, isOver(run) ? run.state : 'not yet given'));
    if (!isOver(run)) operator.print([`Continue it with: npm run replay -- resume ${runId}`]);
  }
  // A run of before this was kept: its proof is as it was when it ended.
  const { state, finishedAt } = run;
  if ((state === 'agreed' || state === 'disagreed') && finishedAt !== null) {
    await keepVerdict(carts, summarizeProof(runId, proof, finishedAt), operator.warn);
  }
  return exitCodes.done;
}

function toData({ runId, state, plan, createdAt, finishedAt }: RunRecord, progress: Progress | null, proof: Proof) {
  const published = progress === null ? 0n : countPublished(progress);
  const done = progress === null ? null : { published, pass: progress.passNumber, state: progress.state };
  return {
    run: runId,
    state,
    createdAt,
    finishedAt,
    plan: formatPlan(plan),
    progress: done,
    proof: formatVerdict(proof),
  };
}

export function resumeRun(connections: Connections, runId: string, talk: Talk): Promise<number> {
  const { carts, config } = connections;
  return withRunLock(carts, config.replayTopic, async () => {
    const run = await readRun(carts, runId);
    if (isOver(run)) throw new ArgumentError('RUN_ID', `run ${runId} is over (${run.state}); see status ${runId}`);
    const state = await readPipelineState(connections);
    requireSamePlan(run, state.checkpoint);
    talk.operator.print(renderPlan(run.plan));
    if (run.plan.ruleVersion !== RULE_VERSION) {
      talk.operator.print([
        `This run is of rule version ${run.plan.ruleVersion}, this tool of ${RULE_VERSION}: sinks of another version pause it.`,
      ]);
    }
    return carryOut(connections, state, run.plan, talk);
  });
}

function requireSamePlan(
  { plan }: RunRecord,
  checkpoint: { systemIdentifier: string; database: string; generation: number },
) {
  const isSame = (['systemIdentifier', 'database', 'generation'] as const).every(
    (name) => plan[name] === checkpoint[name],
  );
  if (isSame) return;
  throw new PipelineMismatchError(
    `RUN_ID: run ${plan.runId} was planned for generation ${plan.generation} of database ${plan.database} of the cluster ` +
      `${plan.systemIdentifier}, which is no longer the pipeline's: cancel it, and start a new replay`,
  );
}

/** What is published stays in the topic, and sinks of the run's rule version apply it; nothing is published any more. */
export function cancelRun(connections: Connections, runId: string, { operator }: Talk): Promise<number> {
  const { carts, config, log } = connections;
  return withRunLock(carts, config.replayTopic, async () => {
    const run = await readRun(carts, runId);
    if (isOver(run)) throw new ArgumentError('RUN_ID', `run ${runId} is over (${run.state}) and can't be cancelled`);
    // A process that lost its lock may still publish.
    await (await fenceEarlierRuns(connections)).close();
    const progress = await readProgress(log, config.replayTopic, runId, 'fenced');
    await finishRun(carts, runId, 'cancelled', null);
    const published = progress === null ? 0n : countPublished(progress);
    operator.print([
      `Run ${runId} is cancelled. Sinks of its rule version apply the ${published} orders that were published; others skip them.`,
    ]);
    return exitCodes.done;
  });
}

function isOver({ state }: RunRecord): boolean {
  return state !== 'publishing' && state !== 'published';
}
