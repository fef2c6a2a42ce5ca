// `npm run adopt -- reader`: shows the halt, asks, and makes a slot and a checkpoint from which a reader can go on. The
// orders database is written to only by way of its slot. Guarantees: nothing changes before the yes; whatever else
// publishes is fenced first; the checkpoint comes last, so that a run that was killed leaves a halt, and another run
// completes it. The window's slot stays as it is, unless the captured tables changed: then no WAL of before counts.

import { type Checkpoint, formatCheckpoint, parseCheckpoint } from '#schemas/checkpoint.ts';
import type { Lsn } from '#schemas/lsn.ts';
import { windowSlotName } from '#schemas/resource-names.ts';
import { createDatabase } from '#service/database.ts';
import { ConfigurationError } from '#service/environment.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../../cdc-reader/config.ts';
import { createSlot, dropSlot } from '../../cdc-reader/postgres/slot.ts';
import { createSourceSession } from '../../cdc-reader/postgres/source-session.ts';
import { SlotMissingError } from '../../cdc-reader/postgres/stream-errors.ts';
import { fence, type KafkaConnection, openKafka, READ_DEADLINE_MS } from '../../cdc-reader/startup/kafka-connection.ts';
import { type EventTail, readPartitionTails } from '../../cdc-reader/startup/live-topic.ts';
import { ToolRefusal } from '../run-tool.ts';
import { type Conversation, requireYes } from './confirm.ts';
import { formatReaderDone, formatReaderPlan } from './format-reader-plan.ts';
import { formatRepairs } from './gap.ts';
import { inspectReader, TablesReplacedRefusal } from './inspect-reader.ts';
import { requireNoOrdersLeft, showLeftOrders } from './left-orders.ts';
import { buildCheckpoint, findUnapplied, planReader, type ReaderFacts } from './plan-reader.ts';
import { resetOffsets } from './reset-offsets.ts';
import { readTopicGeneration } from './sql/read-topic-generation.ts';
import { readWindowFrom } from './window-slot.ts';

export interface AdoptReaderOptions {
  readonly config: CdcReaderConfig;
  /** Needed for a new generation only. */
  readonly cartDatabaseUrl: string | undefined;
  readonly yes: boolean;
  readonly force: boolean;
  /** Orders that only replaced tables hold, which may be given up. */
  readonly leaveOrders: number | undefined;
  readonly conversation: Conversation;
  readonly logger: Logger;
}

/** @throws ToolRefusal with nothing changed; whatever else leaves a halt, and can be run again */
export async function adoptReader(options: AdoptReaderOptions): Promise<void> {
  const { config, conversation, logger } = options;
  const { print } = conversation;
  await using resources = new AsyncDisposableStack();
  const source = resources.adopt(
    await createSourceSession({
      databaseUrl: config.orderDatabaseUrl,
      applicationName: 'tillstream-adopt',
      onEnd: () => undefined, // the next use says so
    }),
    (session) => session.close(),
  );
  if (!(await source.tryAdvisoryLock(`tillstream adopt of ${config.slotName}`))) {
    throw new ToolRefusal('another adopt of this slot is running');
  }
  const kafka = resources.adopt(await openKafka(config, logger), (open) => open.close());

  const openBoth = () => ({
    orders: resources.adopt(openDatabase(config.orderDatabaseUrl, logger), (one) => one.close()),
    carts: resources.adopt(openCarts(options), (one) => one.close()),
  });
  const facts = await inspectReader(config, source, kafka, print).catch(async (error) => {
    if (error instanceof TablesReplacedRefusal) await showBeforeRefusal(options, error, openBoth);
    throw error;
  });
  if (facts.halt === null && !options.force) {
    throw new ToolRefusal(
      'nothing wrong is found: start the reader. If it halts again while it streams (CONTENTS_DIFFER, ORDER_WITHOUT_ITEMS and others show only then), come back with --force',
    );
  }
  requireNoOrdersLeft(await showLeftOrders(facts, openBoth, print), options.leaveOrders);
  if (facts.checkpoint !== null && facts.checkpoint.state !== 'streaming') {
    await adoptFirstStart(options, kafka, facts, facts.checkpoint); // awaited: leaving this scope closes its connections
    return;
  }
  const plan = planReader(facts);
  const carts = plan.newGeneration === null ? null : resources.adopt(openCarts(options), (one) => one.close());
  const generation = carts === null ? findGeneration(facts) : (await findKnownGeneration(facts, carts, config)) + 1;
  if (plan.newGeneration !== null) requireEmpty(config, facts);
  for (const line of formatReaderPlan(config, facts, plan, generation)) print(line);
  await requireYes('Accept the gap?', options.yes, conversation);

  await kafka.ensureTopics(null);
  const producer = resources.adopt(await fence(config, logger), (one) => one.close());
  await failpoint('adopt.fenced');
  await requireUnchanged(kafka, facts);
  const live = await readPartitionTails(kafka.log, config.ordersTopic, READ_DEADLINE_MS);
  if (plan.newGeneration !== null) requireEmpty(config, { live });
  // Before the slot: what is altered later changes it, and the reader sees that.
  const { fingerprint: capture } = await source.readCapture(config.publicationName);

  const server = { databaseUrl: config.orderDatabaseUrl, applicationName: config.applicationName };
  if (facts.slotExists) await dropSlot({ ...server, slotName: config.slotName });
  if (!plan.isInWal) await dropWindow(config);
  await failpoint('adopt.slot-dropped');
  print('Creating the slot; this waits for transactions that are open now.');
  const slot = await createSlot({
    ...server,
    slotName: config.slotName,
    serverVersion: facts.identity.serverVersion,
  });
  await slot.close();
  await failpoint('adopt.slot-created');

  const reset = carts === null ? null : await resetOffsets(carts, config.ordersTopic, generation);
  await failpoint('adopt.offsets-reset');
  const checkpoint = buildCheckpoint(facts, plan, {
    slotName: config.slotName,
    consistentPoint: slot.consistentPoint,
    capture,
    live,
    generation,
  });
  const transaction = await producer.begin();
  await transaction.send([kafka.checkpointTopic.record(formatCheckpoint(checkpoint))]);
  await transaction.commit();
  await failpoint('adopt.checkpoint-written');
  const gaps = reset === null ? checkpoint.gaps : findUnapplied(facts, reset.applied, checkpoint);
  const repairs = formatRepairs(gaps, plan.isInWal ? await readWindow(options) : null);
  for (const line of formatReaderDone(checkpoint, reset?.groups ?? null, repairs)) print(line);
}

/** Adopt refuses anyhow; which orders are at stake is worth knowing, and what keeps that from being known is no reason. */
async function showBeforeRefusal(
  { cartDatabaseUrl, conversation: { print } }: AdoptReaderOptions,
  { facts }: TablesReplacedRefusal,
  openBoth: Parameters<typeof showLeftOrders>[1],
): Promise<void> {
  if (cartDatabaseUrl === undefined) {
    print('With CART_DATABASE_URL set, adopt also lists the orders that only the replaced tables hold.');
    return;
  }
  try {
    await showLeftOrders(facts, openBoth, print);
  } catch (error) {
    print(`Which orders only the replaced tables hold can not be told: ${(error as Error).message}`);
  }
}

/** The reader does the first start again; orders that were published are not published twice. */
async function adoptFirstStart(
  { config, yes, conversation, logger }: AdoptReaderOptions,
  kafka: KafkaConnection,
  facts: ReaderFacts,
  checkpoint: Checkpoint,
): Promise<void> {
  const { print } = conversation;
  print(`The first start of the reader has not ended, and halts with ${facts.halt!.code}: ${facts.halt!.message}`);
  print('Accepting it means that the first start goes on with the tables of today.');
  await requireYes('Accept the change?', yes, conversation);
  await using producer = new AsyncDisposableStack();
  const fenced = producer.adopt(await fence(config, logger), (one) => one.close());
  await requireUnchanged(kafka, facts);
  const transaction = await fenced.begin();
  const next: Checkpoint = { ...checkpoint, state: 'intent', capture: facts.capture };
  await transaction.send([kafka.checkpointTopic.record(formatCheckpoint(next))]);
  await transaction.commit();
  print('Done. Start the reader: npm run cdc-reader; it does the first start again.');
}

/** Read again, WAL of before the change lacks the same rows: the reader begins a new window. */
async function dropWindow({ orderDatabaseUrl, applicationName, slotName }: CdcReaderConfig): Promise<void> {
  try {
    await dropSlot({ databaseUrl: orderDatabaseUrl, slotName: windowSlotName(slotName), applicationName });
  } catch (error) {
    if (!(error instanceof SlotMissingError)) throw error;
  }
}

function openCarts({ cartDatabaseUrl, logger }: AdoptReaderOptions) {
  if (cartDatabaseUrl === undefined) {
    throw new ConfigurationError([
      'CART_DATABASE_URL is required: the ledger tells which orders are applied, and a new generation of the live topic ' +
        "resets the sinks' offsets",
    ]);
  }
  return openDatabase(cartDatabaseUrl, logger);
}

function openDatabase(url: string, logger: Logger) {
  return createDatabase({
    url,
    applicationName: 'tillstream-adopt',
    poolSize: 1,
    statementTimeoutMs: 0, // reads whole tables
    lockTimeoutMs: 15_000, // longer than a sink's batch may hold its offset
    idleInTransactionTimeoutMs: 30_000,
    connectTimeoutMs: 5_000,
    acquireTimeoutMs: 10_000,
    logger,
  });
}

/** Without a checkpoint, what the topic says. */
function findGeneration({ checkpoint, live }: ReaderFacts): number {
  const events = (Array.isArray(live) ? (live as readonly EventTail[]) : []).flatMap(({ newest }) => newest ?? []);
  return checkpoint?.generation ?? Math.max(1, ...events.map((event) => event.generation));
}

/** The newest generation that anyone may have seen. A run that was killed comes to the same one by the checkpoint. */
async function findKnownGeneration(
  facts: ReaderFacts,
  carts: ReturnType<typeof openDatabase>,
  config: CdcReaderConfig,
): Promise<number> {
  if (facts.checkpoint !== null) return facts.checkpoint.generation;
  const [row]: { generation: number | null }[] = await carts.pool.query(readTopicGeneration(config.ordersTopic));
  return Math.max(findGeneration(facts), row?.generation ?? 0);
}

/** Two generations in one topic could not be told apart by position. */
function requireEmpty({ ordersTopic }: CdcReaderConfig, { live }: Pick<ReaderFacts, 'live'>): void {
  if (live === null || (live !== 'unreadable' && live.every(({ end }) => end === 0n))) return;
  throw new ToolRefusal(
    `a new generation needs an empty live topic, and ${ordersTopic} holds records. Let the sinks drain it, then either set ` +
      'ORDERS_TOPIC to a new name for reader and sinks, or delete the topic; and run this again',
  );
}

/** @throws ToolRefusal when someone published between the look and the fence */
async function requireUnchanged(kafka: KafkaConnection, { checkpoint }: ReaderFacts): Promise<void> {
  if (checkpoint === null) return;
  const { record } = await kafka.checkpointTopic.read(READ_DEADLINE_MS);
  if (record === null || !formatCheckpoint(parseCheckpoint(record)).equals(formatCheckpoint(checkpoint))) {
    throw new ToolRefusal('a reader has published meanwhile; run this again (no reader may run)');
  }
}

async function readWindow({ config, logger }: AdoptReaderOptions): Promise<Lsn | null> {
  const orders = openDatabase(config.orderDatabaseUrl, logger);
  try {
    return await readWindowFrom(orders, config.slotName);
  } finally {
    await orders.close();
  }
}
