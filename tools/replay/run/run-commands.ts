// The commands beside a new run: `coverage`, `status`, `resume` and `cancel`. Guarantees: coverage and status change
// nothing; resume does what the run's own plan says, whatever is configured otherwise now; cancel takes from whoever
// published the run the means to go on.

import { createTransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import { formatLsn } from '#schemas/lsn.ts';
import { countPublished } from '#schemas/replay/progress.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import type { Connections } from '../cli/connections.ts';
import { ArgumentError, exitCodes, PipelineMismatchError } from '../cli/errors.ts';
import type { Operator } from '../cli/operator.ts';
import { renderFields, renderPlan, renderProgress, renderProof, renderRun } from '../cli/render.ts';
import { formatCoverage } from '../plan/choose-source.ts';
import { readPipelineState } from '../plan/pipeline-state.ts';
import { readProgress } from '../progress/progress-log.ts';
import { readCoverages } from '../sources/open-source.ts';
import { finishRun, type RunRecord, readResults, readRun, withRunLock } from './run-records.ts';
import { finish } from './start-run.ts';
import { judgeProof } from './verdict.ts';

interface Talk {
  readonly operator: Operator;
  readonly signal: AbortSignal;
}

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

export async function showStatus(connections: Connections, runId: string, { operator }: Talk): Promise<number> {
  const { carts, config, log } = connections;
  const run = await readRun(carts, runId);
  const progress = await readProgress(log, config.replayTopic, runId, 'settled');
  const results = await readResults(carts, runId, config.consumerGroup);
  operator.print([...renderRun(run), ...renderPlan(run.plan), ...renderProgress(progress)]);
  const proof = judgeProof(run.plan.partitions, progress?.tallies ?? new Map(), results);
  operator.print(renderProof(proof, isOver(run) ? run.state : 'not yet given'));
  if (!isOver(run)) operator.print([`Go on with: npm run replay -- resume ${runId}`]);
  return exitCodes.done;
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
        `This run is of rule version ${run.plan.ruleVersion}, this tool of ${RULE_VERSION}: sinks of another version hold it.`,
      ]);
    }
    return finish(connections, state, run.plan, talk);
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
      `${plan.systemIdentifier}, which is not the pipeline's any more: cancel it, and plan anew`,
  );
}

/** What is published stays published, and is applied where sinks have the run's rule version; nothing follows. */
export function cancelRun(connections: Connections, runId: string, { operator }: Talk): Promise<number> {
  const { carts, config, log, logger } = connections;
  return withRunLock(carts, config.replayTopic, async () => {
    const run = await readRun(carts, runId);
    if (isOver(run)) throw new ArgumentError('RUN_ID', `run ${runId} is over (${run.state}) and can't be cancelled`);
    // Fences a process that lost its lock and still publishes, and aborts what it has open.
    const producer = await createTransactionalProducer({
      brokers: config.kafkaBrokers,
      clientId: config.applicationName,
      transactionalId: config.transactionalId,
      transactionTimeoutMs: config.transactionTimeoutMs,
      requestTimeoutMs: config.transactionTimeoutMs,
      logger,
    });
    await producer.close();
    const progress = await readProgress(log, config.replayTopic, runId, 'fenced');
    await finishRun(carts, runId, 'cancelled', null);
    const published = progress === null ? 0n : countPublished(progress);
    operator.print([
      `Run ${runId} is cancelled. Sinks of its rule version apply the ${published} orders that were published; others pass them over.`,
    ]);
    return exitCodes.done;
  });
}

function isOver({ state }: RunRecord): boolean {
  return state !== 'publishing' && state !== 'published';
}
