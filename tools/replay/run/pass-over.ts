// `npm run replay -- pass-over RUN`: a run that Kafka has and the carts database does not know, since it was restored to before
// the run. Guarantees: the process that may still publish it is fenced; the sinks skip its records, whatever their rule version;
// nothing changes before the yes. What the run did to the carts before the restore is gone with them: a new replay does it again.
import { LSN_ZERO } from '#schemas/lsn.ts';
import type { ReplayPlan } from '#schemas/replay/plan.ts';
import { countPublished } from '#schemas/replay/progress.ts';
import { parseReplayHeaders, type ReplayStamp } from '#schemas/replay/records.ts';
import { type NextOffsetRow, readNextOffsets } from '../../../cart-sink/sql/consumer-offsets.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';
import { REPLAY_TABLES } from '../../repairs.ts';
import type { Connections } from '../cli/connections.ts';
import { ArgumentError, exitCodes } from '../cli/errors.ts';
import type { Talk } from '../cli/operator.ts';
import { readProgress } from '../progress/progress-log.ts';
import { fenceEarlierRuns } from './carry-out.ts';
import { findRun, storePassedOver, withRunLock } from './run-records.ts';

export function passOverRun(
  connections: Connections,
  runId: string,
  yes: boolean,
  { operator, signal }: Talk,
): Promise<number> {
  const { carts, config } = connections;
  return withRunLock(carts, config.replayTopic, async () => {
    await requireUnknown(connections, runId);
    const { plan, published } = await findInKafka(connections, runId);
    operator.print([
      `Run ${runId} (${plan.mode}, rule version ${plan.ruleVersion}, ${published}) is in ${config.replayTopic}, and this carts ` +
        'database does not know it: it was restored to before the run. The sinks hold it.',
    ]);
    await operator.requireYes('Pass over this run, so that no sink applies it?', yes, signal);
    await (await fenceEarlierRuns(connections)).close();
    if (!(await storePassedOver(carts, plan))) await requireUnknown(connections, runId);
    operator.print([
      `Run ${runId} is passed over: the sinks skip its records.`,
      'Next:',
      `  1. if its effect is still wanted, run it again; what the ledger lacks: ${REPLAY_TABLES}`,
      '  2. check: npm run audit',
    ]);
    return exitCodes.done;
  });
}

/** @throws ArgumentError for a run that the carts database knows */
async function requireUnknown({ carts }: Connections, runId: string): Promise<void> {
  const run = await findRun(carts, runId);
  if (run === undefined) return;
  const isOpen = run.state === 'publishing' || run.state === 'published';
  throw new ArgumentError(
    'RUN_ID',
    `this carts database knows run ${runId} (${run.state}), so there is nothing to pass over` +
      (isOpen ? `; to give it up: npm run replay -- cancel ${runId}` : ''),
  );
}

/** @throws ArgumentError if Kafka does not have the run */
async function findInKafka(connections: Connections, runId: string): Promise<{ plan: ReplayPlan; published: string }> {
  const { log, config } = connections;
  const progress = await readProgress(log, config.replayTopic, runId, 'stable');
  if (progress !== null) return { plan: progress.plan, published: `${countPublished(progress)} orders` };
  const stamp = await findWhereSinksStand(connections, runId);
  if (stamp !== null) return { plan: createUnknownPlan(stamp), published: 'its plan is lost' };
  throw new ArgumentError(
    'RUN_ID',
    `${config.replayTopic} holds no progress of a run ${runId}, and no sink of ${config.consumerGroup} stands at one of its records`,
  );
}

/** Retention may have deleted the run's progress records in partition 0, and not its orders in another partition. */
async function findWhereSinksStand({ log, carts, config }: Connections, runId: string): Promise<ReplayStamp | null> {
  const { consumerGroup, replayTopic: topic } = config;
  const rows: NextOffsetRow[] = await carts.pool.query(readNextOffsets(consumerGroup, [topic]));
  const offsets = await log.readOffsets(topic, READ_DEADLINE_MS);
  for (const { partition, next_offset: fromOffset } of rows) {
    const { earliest, lastStable: untilOffset } = offsets.get(partition) ?? { earliest: 0n, lastStable: 0n };
    if (fromOffset < earliest) continue; // the sinks halt there, before they come to any run
    const read = { topic, partition, fromOffset, untilOffset, deadlineMs: READ_DEADLINE_MS };
    for await (const [first] of log.readRecords({ ...read, isolation: 'read_committed' })) {
      const stamp = parseReplayHeaders(first!.headers)?.stamp;
      if (stamp?.runId === runId) return stamp;
      break;
    }
  }
  return null;
}

/** What is stored of a run whose plan nobody has any more. */
function createUnknownPlan(stamp: ReplayStamp): ReplayPlan {
  return {
    ...stamp,
    users: [],
    orderIds: [],
    pass: { source: 'kafka', range: null },
    appliedThroughLsn: LSN_ZERO,
    isOpenEnded: false,
    why: 'unknown: passed over',
    systemIdentifier: '',
    database: '',
    generation: 0,
    partitions: 0,
    ratePerSecond: null,
    survey: { orders: 0, unknown: 0, changing: null, skipped: 0, first: null, last: null },
  };
}
