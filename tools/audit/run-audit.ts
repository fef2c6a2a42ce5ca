// One audit, top to bottom: takes a snapshot of the orders, waits until reader and sinks have passed it, compares the two
// databases order by order, and reports. Guarantees: it writes nothing but its verdict, and its memory does not grow with the
// databases. An order that only the ledger has is looked up by its id, since it may have been placed after the snapshot.
import { createKafkaLog } from '#kafka/reading/log.ts';
import { contractSchema } from '#schemas/contract-tables.ts';
import { formatLsn, parseLsn } from '#schemas/lsn.ts';
import type { Database } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { RULE_VERSION } from '../../cart-sink/rule/reduce-cart.ts';
import type { OldTablesReport } from '../captured/old-tables.ts';
import { requireCartTables } from '../cart-tables.ts';
import type { AuditConfig } from '../config.ts';
import { openDatabase, openSourceSession, withSourceSession } from '../connect.ts';
import { findHaltedPartitions, formatHaltedPartition } from '../halted-partitions.ts';
import type { CommandOutput } from '../json-output.ts';
import { keepVerdict } from '../keep-verdict.ts';
import { readCheckpoint } from '../read-checkpoint.ts';
import { formatRepairs, readWindowFrom } from '../repairs.ts';
import { readHeldOrders } from '../sql/order-tables.ts';
import { countParkedEvents } from '../sql/parked-events.ts';
import { readWalEnd } from '../sql/snapshot.ts';
import { toReachableWalEnd } from '../wal-end.ts';
import type { AuditArguments } from './arguments.ts';
import { mergeByOrderId } from './compare/merge-join.ts';
import { openSnapshot, readAppliedOrders, readPlacedOrders, type SnapshotSession } from './compare/snapshot-session.ts';
import { type AuditResult, createTally, isClean } from './compare/tally.ts';
import { describeViews, inspectTables, readReplacedOrders, requireReadableTables } from './inspect-tables.ts';
import { type AuditReport, formatReport, formatVerdict, formatWait } from './report.ts';
import { readPartitions, waitForPipeline } from './wait/watch-pipeline.ts';

const EXIT_AGREE = 0;
const EXIT_DIFFER = 1;
const EXIT_NOT_PASSED = 3;

const APPLICATION_NAME = 'tillstream-audit';
/** One connection holds the snapshot, the other reads the present state; neither may be cut off. */
const LIMITS = { poolSize: 2, lockTimeoutMs: 0, idleInTransactionTimeoutMs: 0 };
/** How many orders that only the ledger has are looked up together. */
const LOOK_UP = 500;

interface Output extends CommandOutput {
  readonly show: (progress: string) => void;
  readonly warn: (line: string) => void;
}

/** @returns the exit code. @throws if a server is unavailable */
export async function runAudit(
  config: AuditConfig,
  { waitMs, limit }: AuditArguments,
  output: Output,
  logger: Logger,
): Promise<number> {
  await using resources = new AsyncDisposableStack();
  const server = { postgres: config.orderDatabase, applicationName: APPLICATION_NAME, logger };
  const open = (postgres: DatabaseServer): Database =>
    resources.adopt(openDatabase({ ...server, postgres }, LIMITS), (database) => database.close());
  const source = resources.adopt(await openSourceSession(server), (session) => session.close());
  const capture = await requireReadableTables(source, config.publicationName);
  const [orders, carts] = [open(config.orderDatabase), open(config.cartDatabase)];
  const client = { kafka: config.kafka, clientId: APPLICATION_NAME, logger };
  const log = resources.adopt(await createKafkaLog(client), (one) => one.close());

  await requireCartTables(carts);
  const recorded = await readCheckpoint(log, config);
  const tables = await inspectTables(recorded?.capture ?? null, capture, source, orders, carts);
  for (const line of [...describeViews(capture), ...tables.lines]) output.print(line);

  const placed = resources.adopt(await openSnapshot(orders), (session) => session.close());
  const walEnd = parseLsn((await placed.query(readWalEnd))[0].wal_end);
  const pipeline = { source, log, carts, config };
  if (waitMs > 0) {
    const wait = await waitForPipeline(pipeline, toReachableWalEnd(walEnd), waitMs, output.show);
    for (const line of formatWait(wait, walEnd, waitMs)) output.print(line);
    if (wait.kind !== 'passed') {
      output.end({ verdict: 'not-passed', snapshotLsn: formatLsn(walEnd), why: wait.why });
      return EXIT_NOT_PASSED;
    }
  }
  const applied = resources.adopt(await openSnapshot(carts), (session) => session.close());
  const result = await compareAll(placed, applied, orders, tables, limit);

  const [parked] = await applied.query(countParkedEvents);
  const replay = await readPartitions(pipeline, config.replayTopic);
  const readWindow = () => withSourceSession(server, (session) => readWindowFrom(session, config.slotName));
  const report: AuditReport = {
    result,
    snapshotLsn: walEnd,
    parked: { ...parked, distinct: parked.distinct_parked },
    replayBacklog: replay?.reduce((sum, { nextOffset, target }) => sum + target - (nextOffset ?? 0n), 0n) ?? null,
    halted: (await findHaltedPartitions(carts, config.consumerGroup, [config.ordersTopic, config.replayTopic])).map(
      formatHaltedPartition,
    ),
    repairs:
      result.missing === 0 ? [] : formatRepairs((await readCheckpoint(log, config))?.gaps ?? [], await readWindow()),
    leftOrders: tables.leftOrders,
  };
  for (const line of formatReport(report)) output.print(line);
  const agrees = isClean(result) && tables.leftOrders === 0;
  const { result: counts, ...rest } = report;
  output.end({ verdict: agrees ? 'agree' : 'differ', ...rest, snapshotLsn: formatLsn(walEnd), ...counts });
  // Compared at once, orders are missing that are only on their way: that they agree is proof, that they differ is none.
  if (agrees || waitMs > 0) await keepVerdict(carts, formatVerdict(result, tables.leftOrders), output.warn);
  return agrees ? EXIT_AGREE : EXIT_DIFFER;
}

async function compareAll(
  placed: SnapshotSession,
  applied: SnapshotSession,
  orders: Database,
  tables: OldTablesReport,
  limit: number,
): Promise<AuditResult> {
  const tally = createTally(limit, RULE_VERSION);
  let unknown: string[] = [];
  const lookUp = async (): Promise<void> => {
    if (unknown.length === 0) return;
    const rows: { order_id: string }[] = await orders.pool.query(readHeldOrders(contractSchema, 'orders', unknown));
    const found = new Set(rows.map((row) => row.order_id));
    const replaced = await readReplacedOrders(tables, orders, unknown);
    for (const orderId of unknown) {
      if (found.has(orderId)) tally.newer();
      else if (replaced.has(orderId)) tally.replaced(orderId);
      else tally.phantom(orderId);
    }
    unknown = [];
  };
  for await (const { left, right } of mergeByOrderId(readPlacedOrders(placed), readAppliedOrders(applied))) {
    if (tally.add(left, right) === 'unknown') unknown.push(right!.orderId);
    if (unknown.length >= LOOK_UP) await lookUp();
  }
  await lookUp();
  return tally.result();
}
