// `npm run adopt -- reader`, top to bottom: finds what the reader halts with, shows it with a plan, asks, and carries the plan
// out. Guarantees: nothing changes before the yes, and every refusal leaves everything as it was. What a run that is killed
// in between leaves behind is carry-out.ts's.
import type { Database } from '#service/database.ts';
import { ConfigurationError } from '#service/environment.ts';
import type { Logger } from '#service/logger.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import type { CdcReaderConfig } from '../../../cdc-reader/config.ts';
import type { SourceSession } from '../../../cdc-reader/postgres/source-session.ts';
import { type KafkaConnection, openKafka } from '../../../cdc-reader/startup/kafka-connection.ts';
import { type Conversation, requireYes } from '../../confirm.ts';
import { openDatabase, openSourceSession } from '../../connect.ts';
import { ToolRefusal } from '../../run-tool.ts';
import { readTopicGeneration } from '../../sql/consumer-offsets.ts';
import { acceptChangeInFirstStart, carryOut, requireEmpty } from './carry-out.ts';
import { formatFirstStartPlan, formatReaderDone, formatReaderPlan } from './format-plan.ts';
import { inspectReader, TablesReplacedRefusal } from './inspect-reader.ts';
import { requireNoOrdersLeft, showLeftOrders } from './left-orders.ts';
import { findGeneration, planReader, type ReaderFacts } from './plan-reader.ts';

export interface AdoptReaderOptions {
  readonly config: CdcReaderConfig;
  /** Required only where the ledger has to be read, or a new generation begins. */
  readonly cartDatabase: DatabaseServer | undefined;
  readonly yes: boolean;
  readonly force: boolean;
  /** How many orders that only replaced tables hold may be given up. */
  readonly leaveOrders: number | undefined;
  readonly conversation: Conversation;
  readonly logger: Logger;
}

export interface Servers {
  readonly config: CdcReaderConfig;
  readonly logger: Logger;
  readonly source: SourceSession;
  readonly kafka: KafkaConnection;
  /** Both are connected to by their first use. @throws ConfigurationError without CART_DATABASE_URL */
  orders(): Database;
  carts(): Database;
}

const APPLICATION_NAME = 'tillstream-adopt';

/** @throws ToolRefusal with nothing changed; any other error leaves a halt, and the command can be run again */
export async function adoptReader(options: AdoptReaderOptions): Promise<void> {
  const { config, yes, force, leaveOrders, conversation } = options;
  const { print } = conversation;
  await using resources = new AsyncDisposableStack();
  const servers = await openServers(options, resources);

  const facts = await inspectReader(servers, print).catch(async (error) => {
    if (error instanceof TablesReplacedRefusal) await showBeforeRefusal(options, error, servers);
    throw error;
  });
  if (facts.halt === null && !force) {
    throw new ToolRefusal(
      'nothing wrong is found: start the reader. Some halts occur only while it streams (CONTENTS_DIFFER, ORDER_WITHOUT_ITEMS, ' +
        'TABLES_CHANGED because of a row, and others): if it halts again, run this with --force',
    );
  }
  requireNoOrdersLeft(await showLeftOrders(facts, servers, print), leaveOrders);

  if (facts.checkpoint !== null && facts.checkpoint.state !== 'streaming') {
    for (const line of formatFirstStartPlan(facts)) print(line);
    await requireYes('Accept the change?', yes, conversation.streams);
    await acceptChangeInFirstStart(servers, facts, facts.checkpoint);
    print('Done. Start the reader: npm run cdc-reader. It repeats the first start.');
    return;
  }
  const plan = planReader(facts);
  const isNew = plan.newGeneration !== null;
  const generation = isNew ? (await findKnownGeneration(servers, facts)) + 1 : findGeneration(facts);
  if (isNew) requireEmpty(config.ordersTopic, facts.live);
  for (const line of formatReaderPlan(config, facts, plan, generation)) print(line);
  await requireYes('Accept the gap?', yes, conversation.streams);
  const { checkpoint, groups, repairs } = await carryOut(servers, facts, plan, generation, print);
  for (const line of formatReaderDone(checkpoint, groups, repairs)) print(line);
}

/** @throws ToolRefusal while another adopt of this slot runs */
async function openServers(
  { config, cartDatabase, logger }: AdoptReaderOptions,
  resources: AsyncDisposableStack,
): Promise<Servers> {
  const server = { postgres: config.orderDatabase, applicationName: APPLICATION_NAME, logger };
  const source = resources.adopt(await openSourceSession(server), (session) => session.close());
  if (!(await source.tryAdvisoryLock(`tillstream adopt of ${config.slotName}`))) {
    throw new ToolRefusal('another adopt of this slot is running');
  }
  const kafka = resources.adopt(await openKafka(config, logger), (open) => open.close());
  const openOnce = (postgres: () => DatabaseServer) => {
    let opened: Database | undefined;
    return () => (opened ??= resources.adopt(openDatabase({ ...server, postgres: postgres() }), (one) => one.close()));
  };
  return {
    config,
    logger,
    source,
    kafka,
    orders: openOnce(() => config.orderDatabase),
    carts: openOnce(() => {
      if (cartDatabase !== undefined) return cartDatabase;
      throw new ConfigurationError([
        'CART_DATABASE_URL is required: the ledger shows which orders were applied, and a new generation of the live topic ' +
          "resets the sinks' offsets",
      ]);
    }),
  };
}

/** Adopt refuses in any case; which orders are at stake helps to decide, and failing to find out changes nothing. */
async function showBeforeRefusal(
  { cartDatabase, conversation: { print } }: AdoptReaderOptions,
  { facts }: TablesReplacedRefusal,
  servers: Servers,
): Promise<void> {
  if (cartDatabase === undefined) {
    print('With CART_DATABASE_URL set, adopt also lists the orders that only the replaced tables hold.');
    return;
  }
  try {
    await showLeftOrders(facts, servers, print);
  } catch (error) {
    print(`The orders that only the replaced tables hold could not be listed: ${(error as Error).message}`);
  }
}

/** The newest generation that any sink may have seen. After a killed run the checkpoint or the offsets give the same one. */
async function findKnownGeneration({ config, carts }: Servers, facts: ReaderFacts): Promise<number> {
  const { pool } = carts(); // required for a new generation in any case
  if (facts.checkpoint !== null) return facts.checkpoint.generation;
  const [row]: { generation: number | null }[] = await pool.query(readTopicGeneration(config.ordersTopic));
  return Math.max(findGeneration(facts), row?.generation ?? 0);
}
