// One audit from the first snapshot to the report: connects, waits for the pipeline, joins the two databases by order id.
// Guarantees: it writes nothing anywhere, and its memory does not grow with the databases. An order of the ledger that
// the snapshot lacks is looked up again by its id, since it may have been placed after the snapshot.

import { createCheckpointTopic } from '#kafka/checkpoint-topic.ts';
import { TopicMissingError } from '#kafka/errors.ts';
import { createKafkaLog } from '#kafka/reading/log.ts';
import { type Checkpoint, parseCheckpoint } from '#schemas/checkpoint.ts';
import { formatLsn, parseLsn } from '#schemas/lsn.ts';
import { createDatabase, type Database } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { RULE_VERSION } from '../../cart-sink/rule/reduce-cart.ts';
import { createSourceSession } from '../../cdc-reader/postgres/source-session.ts';
import { readExistingOrders } from '../../cdc-reader/postgres/sql/orders.ts';
import { readSlotState } from '../../cdc-reader/postgres/sql/slots.ts';
import { formatRepairs } from '../adopt/gap.ts';
import { readWindowFrom } from '../adopt/window-slot.ts';
import type { AuditArguments } from './arguments.ts';
import type { AuditConfig } from './config.ts';
import {
  describeStandIns,
  inspectTables,
  readReplacedOrders,
  requireReadableTables,
  type TablesReport,
} from './inspect-tables.ts';
import { mergeByOrderId } from './merge-join.ts';
import { settleWalEnd } from './progress.ts';
import { formatReport } from './report.ts';
import { openSnapshot, readAppliedOrders, readPlacedOrders, type SnapshotSession } from './snapshot-session.ts';
import { readParked } from './sql/read-parked.ts';
import { readWalEnd } from './sql/read-wal-end.ts';
import { type AuditResult, createTally, isClean } from './tally.ts';
import { readPartitions, waitForPipeline } from './watch-pipeline.ts';

export const EXIT_AGREE = 0;
export const EXIT_DIFFER = 1;
export const EXIT_NOT_PASSED = 3;

/** One connection holds the snapshot, the other asks what is now. The server may not be in a hurry with either. */
const databaseOptions = {
  applicationName: 'tillstream-audit',
  poolSize: 2,
  statementTimeoutMs: 0,
  lockTimeoutMs: 0,
  idleInTransactionTimeoutMs: 0,
  connectTimeoutMs: 5_000,
  acquireTimeoutMs: 10_000,
};
const CHECKPOINT_DEADLINE_MS = 10_000;
/** Unknown orders of the ledger that are looked up together. */
const LOOK_UP = 500;

/** @returns the exit code. @throws when a server can't be reached */
export async function runAudit(
  config: AuditConfig,
  { waitMs, limit }: AuditArguments,
  output: { print: (line: string) => void; show: (progress: string) => void },
  logger: Logger,
): Promise<number> {
  await using resources = new AsyncDisposableStack();
  const open = (url: string): Database =>
    resources.adopt(createDatabase({ ...databaseOptions, url, logger }), (database) => database.close());
  const orders = open(config.orderDatabaseUrl);
  const source = resources.adopt(
    await createSourceSession({
      databaseUrl: config.orderDatabaseUrl,
      applicationName: databaseOptions.applicationName,
      onEnd: () => undefined, // the next use says so
    }),
    (session) => session.close(),
  );
  const capture = await requireReadableTables(source, config.publicationName);
  const carts = open(config.cartDatabaseUrl);
  const log = resources.adopt(
    await createKafkaLog({ brokers: config.kafkaBrokers, clientId: 'tillstream-audit', logger }),
    (one) => one.close(),
  );
  const checkpointTopic = createCheckpointTopic({ log, topic: config.checkpointTopic, slotName: config.slotName });
  const readCheckpoint = async (): Promise<Checkpoint | null> => {
    try {
      const { record } = await checkpointTopic.read(CHECKPOINT_DEADLINE_MS, 'last_stable_offset');
      return record && parseCheckpoint(record);
    } catch (error) {
      if (error instanceof TopicMissingError) return null;
      throw error;
    }
  };

  const recorded = await readCheckpoint();
  const tables: TablesReport =
    recorded === null
      ? { oldTables: [], lines: [], leftOrders: 0 }
      : await inspectTables(recorded.capture, capture, source, orders, carts);
  for (const line of [...describeStandIns(capture), ...tables.lines]) output.print(line);

  const placed = resources.adopt(await openSnapshot(orders), (session) => session.close());
  const walEnd = parseLsn((await placed.query(readWalEnd))[0].wal_end);
  if (waitMs > 0) {
    const readSlot = async () => {
      const [row]: { active: boolean; wal_status: string | null }[] = await orders.pool.query(
        readSlotState(config.slotName),
      );
      return row === undefined ? null : { active: row.active, walStatus: row.wal_status };
    };
    const watched = { readCheckpoint, readSlot, log, carts, config };
    const delays = await waitForPipeline(watched, settleWalEnd(walEnd), waitMs, output.show);
    if (delays.length > 0) {
      output.print(`The orders as of ${formatLsn(walEnd)} were not passed within ${waitMs / 1_000} s:`);
      for (const line of delays) output.print(`  ${line}`);
      output.print('Wait longer with --wait-seconds, or compare all the same with --no-wait.');
      return EXIT_NOT_PASSED;
    }
  }
  const applied = resources.adopt(await openSnapshot(carts), (session) => session.close());
  const result = await compareAll(placed, applied, orders, tables, limit);
  const [parked] = await applied.query(readParked);
  const replay = await readPartitions({ log, carts, config }, config.replayTopic);
  const backlog = replay?.reduce((sum, { nextOffset, target }) => sum + target - (nextOffset ?? 0n), 0n) ?? null;
  const report = formatReport({
    result,
    snapshotLsn: walEnd,
    parked: { parked: parked.parked, distinct: parked.distinct_parked },
    replayBacklog: backlog,
    repairs:
      result.missing === 0
        ? []
        : formatRepairs((await readCheckpoint())?.gaps ?? [], await readWindowFrom(orders, config.slotName)),
    leftOrders: tables.leftOrders,
    limit,
  });
  for (const line of report) output.print(line);
  return isClean(result) && tables.leftOrders === 0 ? EXIT_AGREE : EXIT_DIFFER;
}

async function compareAll(
  placed: SnapshotSession,
  applied: SnapshotSession,
  orders: Database,
  tables: TablesReport,
  limit: number,
): Promise<AuditResult> {
  const tally = createTally(limit, RULE_VERSION);
  let unknown: string[] = [];
  const lookUp = async (): Promise<void> => {
    const rows: { order_id: string }[] =
      unknown.length === 0 ? [] : await orders.pool.query(readExistingOrders(unknown));
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
