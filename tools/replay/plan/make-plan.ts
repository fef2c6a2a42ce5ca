// Turns a request into a plan: checks the range against the pipeline's positions, chooses a source that covers it, and surveys
// its orders. Guarantees: changes nothing; refuses what can't be replayed before reading orders.

import type { PlannedPass, ReplayPlan } from '#schemas/replay/plan.ts';
import type { OrderPreview } from '../../../cart-sink/apply/preview-replay.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import { checkRange, type PointArgument, type ReplayRequest } from '../cli/arguments.ts';
import type { Connections } from '../cli/connections.ts';
import { ArgumentError, NotCoveredError } from '../cli/errors.ts';
import { formatTime } from '../cli/parse-time.ts';
import { openSource, readCoverages, resolveFromTime } from '../sources/open-source.ts';
import type { PipelineState } from '../sources/pipeline-state.ts';
import { chooseSource } from './choose-source.ts';
import { surveySource } from './survey.ts';

export interface PlanListener {
  readonly onProgress: (orders: number) => void;
  readonly print: (lines: readonly string[]) => void;
  readonly onPreview?: ((order: OrderPreview) => void) | undefined;
}

/** @throws ArgumentError, NotCoveredError, and what servers throw */
export async function makePlan(
  connections: Connections,
  state: PipelineState,
  request: ReplayRequest,
  { runId, signal, ...listener }: PlanListener & { readonly runId: string; readonly signal: AbortSignal },
): Promise<ReplayPlan> {
  const { systemIdentifier, database, generation, partitions } = state.checkpoint;
  const { pass, why } = await choosePass(connections, state, request, signal);
  const { mode, users, orderIds, ratePerSecond } = request;
  const { print } = listener;
  const source = openSource(connections, state, pass, { mode, ratePerSecond: null, users, orderIds, print });
  const survey = await surveySource(connections.carts, { source, filter: request, mode, signal, ...listener });
  return {
    runId,
    mode,
    ruleVersion: RULE_VERSION,
    users,
    orderIds,
    pass,
    why,
    appliedThroughLsn: state.appliedThroughLsn,
    isOpenEnded: request.to === null,
    systemIdentifier,
    database,
    generation,
    partitions,
    ratePerSecond,
    survey,
  };
}

async function choosePass(
  connections: Connections,
  state: PipelineState,
  { source, from, to }: ReplayRequest,
  signal: AbortSignal,
): Promise<{ pass: PlannedPass; why: string }> {
  const { checkpoint, appliedThroughLsn } = state;
  if (from === null) return { pass: { source: 'tables', range: null }, why: 'as requested' };
  const point = from.kind === 'lsn' ? from.point : await findPoint(connections, state, from.at, signal);
  const known = {
    timeline: checkpoint.timeline,
    history: checkpoint.history,
    publishedThroughLsn: checkpoint.throughLsn,
    appliedThroughLsn,
  };
  const range = checkRange(point, to, known);
  const chosen = chooseSource(source, range, await readCoverages(connections, state));
  const how = source === 'auto' ? 'the first that covers the range' : 'as requested';
  return { pass: { source: chosen.kind, range }, why: `${how}: ${chosen.why}` };
}

async function findPoint(
  connections: Connections,
  state: PipelineState,
  at: bigint,
  signal: AbortSignal,
): Promise<PointArgument> {
  const resolved = await resolveFromTime(connections, state, at, signal);
  if (resolved.kind === 'found') return { timeline: null, commitLsn: resolved.commitLsn };
  if (resolved.kind === 'none') {
    throw new ArgumentError(
      '--from-time',
      `no order was committed at or after ${formatTime(at)}: there is nothing to replay`,
    );
  }
  const coverage = 'npm run replay -- coverage shows what is held';
  throw new NotCoveredError(
    `--from-time: neither Kafka nor the WAL holds the first order from ${formatTime(at)} on; ${coverage}`,
  );
}
