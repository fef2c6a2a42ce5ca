// Carries a stored run out to its verdict, from its last committed progress on: publishes what is missing, waits for the sinks,
// compares. Guarantees: after a transient failure of Kafka it continues from the last committed progress; any other failure
// leaves the run unfinished, and the message names the command that continues it. The caller holds the run lock.

import { setTimeout as delay } from 'node:timers/promises';
import { createTransactionalProducer, type TransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import type { PlannedPass, ReplayPlan } from '#schemas/replay/plan.ts';
import { countPublished, type Progress } from '#schemas/replay/progress.ts';
import { keepVerdict } from '../../keep-verdict.ts';
import type { Connections } from '../cli/connections.ts';
import { exitCodes } from '../cli/errors.ts';
import type { Talk } from '../cli/operator.ts';
import { renderProof } from '../cli/render.ts';
import { chooseSource } from '../plan/choose-source.ts';
import { awaitSinks } from '../progress/await-sinks.ts';
import { readProgress } from '../progress/progress-log.ts';
import { openSource, readCoverages } from '../sources/open-source.ts';
import { type PipelineState, readPipelineState } from '../sources/pipeline-state.ts';
import { publishRun } from './publish-run.ts';
import { finishRun, markPublished } from './run-records.ts';
import { compareSides, formatVerdict, hasEnded, isHandled, summarizeProof } from './verdict.ts';

/** A request to Kafka fails after this; leader elections take less. */
const REQUEST_TIMEOUT_MS = 30_000;
/** After this long without progress the command gives up; the operator resumes the run when Kafka is back. */
const GIVE_UP_AFTER_MS = 60_000;
const RETRY_AFTER_MS = 1_000;

const transientCodes: ReadonlySet<string> = new Set(['KAFKA_AWAY', 'PUBLISH_OUTCOME_UNKNOWN', 'LOG_READ_DEADLINE']);

/** The exit code. `state`: the pipeline's, for the sources. */
export async function carryOut(
  connections: Connections,
  state: PipelineState,
  plan: ReplayPlan,
  talk: Talk,
): Promise<number> {
  const { carts } = connections;
  const { operator } = talk;
  try {
    const progress = await publishAll(connections, state, plan, talk);
    await markPublished(carts, plan.runId);
    const total = Number(countPublished(progress));
    operator.print([`Published ${total} orders; waiting for the sinks.`]);
    const results = await awaitSinks(connections, plan, total, (found) => hasEnded(plan.partitions, found), talk);
    const proof = compareSides(plan.partitions, progress.tallies, results);
    await finishRun(carts, plan.runId, proof.agrees ? 'agreed' : 'disagreed', formatVerdict(proof));
    operator.print(renderProof(proof));
    await keepVerdict(carts, summarizeProof(plan.runId, proof, new Date()), operator.warn);
    return proof.agrees ? exitCodes.done : exitCodes.failed;
  } catch (error) {
    operator.print([
      `The run is not finished. Continue it with: npm run replay -- resume ${plan.runId}`,
      `Give it up with:                           npm run replay -- cancel ${plan.runId}`,
    ]);
    throw error;
  }
}

/** Fences every process that publishes to this replay topic, and aborts its open transaction. */
export function fenceEarlierRuns({ config, logger }: Connections): Promise<TransactionalProducer> {
  return createTransactionalProducer({
    kafka: config.kafka,
    clientId: config.applicationName,
    transactionalId: config.transactionalId,
    transactionTimeoutMs: config.transactionTimeoutMs,
    requestTimeoutMs: Math.min(config.transactionTimeoutMs, REQUEST_TIMEOUT_MS),
    logger,
  });
}

/** Publishes to the end, with a new producer after each transient failure. */
async function publishAll(
  connections: Connections,
  state: PipelineState,
  plan: ReplayPlan,
  { operator, signal }: Talk,
): Promise<Progress> {
  const { config, log } = connections;
  let published = -1n;
  let movedMs = performance.now();
  for (;;) {
    try {
      const producer = await fenceEarlierRuns(connections);
      try {
        const found = await readProgress(log, config.replayTopic, plan.runId, 'fenced');
        return await publishRun(producer, plan, found, {
          replayTopic: config.replayTopic,
          openPass: (pass) => openSource(connections, state, pass, { ...plan, print: operator.print }),
          planSecondPass: (progress) => planSecondPass(connections, progress, { operator, signal }),
          onPublished(progress) {
            const now = countPublished(progress);
            if (now > published) movedMs = performance.now();
            published = now;
            operator.show('publishing', Number(now), Math.max(plan.survey.orders, Number(now)));
          },
          signal,
        });
      } finally {
        await producer.close();
      }
    } catch (error) {
      const { code, message } = error as Error & { code?: string };
      if (!transientCodes.has(code ?? '') || performance.now() - movedMs > GIVE_UP_AFTER_MS) throw error;
      operator.print([`Kafka: ${message} Continuing from the last committed progress.`]);
      await delay(RETRY_AFTER_MS);
      signal.throwIfAborted();
    }
  }
}

/** Once the sinks have applied the first pass, the second covers what was applied live meanwhile; null: nothing was. */
async function planSecondPass(connections: Connections, progress: Progress, talk: Talk): Promise<PlannedPass | null> {
  const { plan } = progress;
  const total = Number(countPublished(progress));
  talk.operator.print([`The first pass is published (${total} orders); waiting until the sinks have applied it.`]);
  await awaitSinks(connections, plan, total, (results) => isHandled(progress.tallies, results), talk);
  const state = await readPipelineState(connections);
  const fromLsn = plan.pass.range?.toLsn ?? plan.appliedThroughLsn;
  const range = { fromLsn, toLsn: state.appliedThroughLsn };
  if (range.fromLsn >= range.toLsn) return null;
  const source = chooseSource('auto', range, await readCoverages(connections, state)).kind;
  return { source, range };
}
