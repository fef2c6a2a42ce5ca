// `npm run find`: the path of an order, by its id, its user or its position.
import process from 'node:process';
import { createKafkaLog } from '#kafka/reading/log.ts';
import type { OrderPaths } from '#schemas/order-path.ts';
import { createLogger } from '#service/logger.ts';
import { createCartsStatus } from '../../cart-sink/operations/carts-status.ts';
import { readCartsOrder } from '../../cart-sink/operations/order-facts.ts';
import { findPaths, type Wanted } from '../../cdc-reader/find/order-path.ts';
import { limitExpandedBatches } from '../../kafka/protocol/record-batch.ts';
import { type AuditConfig, readAuditConfig } from '../config.ts';
import { openDatabase } from '../connect.ts';
import { formatJson } from '../json-output.ts';
import { runTool } from '../run-tool.ts';
import { parseFindArguments } from './arguments.ts';
import { renderPath } from './render-path.ts';

const EXIT_MISSING = 1;
const EXIT_NOT_APPLIED = 3;
/** sysexits.h: EX_UNAVAILABLE. */
const EXIT_UNAVAILABLE = 69;
const APPLICATION_NAME = 'tillstream-find';
/** Of each database's part: who runs a command waits longer than a page. */
const DEADLINE_MS = 5_000;
const LIMITS = {
  statementTimeoutMs: DEADLINE_MS,
  connectTimeoutMs: DEADLINE_MS,
  acquireTimeoutMs: DEADLINE_MS,
  lockTimeoutMs: DEADLINE_MS,
};

async function find(config: AuditConfig, wanted: Wanted): Promise<OrderPaths> {
  const { orderDatabase, cartDatabase, kafka, consumerGroup, ordersTopic, replayTopic } = config;
  const { slotName, checkpointTopic } = config;
  const logger = createLogger('find', 'fatal');
  const server = { applicationName: APPLICATION_NAME, logger };
  await using resources = new AsyncDisposableStack();
  const open = (postgres: AuditConfig['orderDatabase']) =>
    resources.adopt(openDatabase({ ...server, postgres }, LIMITS), (database) => database.close());
  const [orders, carts] = [open(orderDatabase), open(cartDatabase)];
  const readStatus = createCartsStatus({
    database: carts,
    consumerGroup,
    topics: [ordersTopic, replayTopic],
    deadlineMs: DEADLINE_MS,
    logger,
  });
  // Awaited: what it reads from is closed at the end of this function.
  return await findPaths(
    {
      orders,
      openLog: () => createKafkaLog({ kafka, clientId: APPLICATION_NAME, logger }),
      carts: { readOrder: (orderId) => readCartsOrder(carts, orderId), readStatus },
      names: { slotName, ordersTopic, checkpointTopic },
      deadlineMs: DEADLINE_MS,
    },
    wanted,
  );
}

/** The worst of the orders decides. */
function exitCodeOf({ paths }: OrderPaths): number {
  const states = new Set(paths.map(({ state }) => state));
  if (states.has('unknown')) return EXIT_UNAVAILABLE;
  if (paths.length === 0 || states.has('missing')) return EXIT_MISSING;
  return states.size === 1 && states.has('applied') ? 0 : EXIT_NOT_APPLIED;
}

await runTool('find', process, EXIT_UNAVAILABLE, async () => {
  const { wanted, json } = parseFindArguments(process.argv.slice(2));
  const config = readAuditConfig(process.env);
  limitExpandedBatches(config.maxExpandedBatchBytes);
  const found = await find(config, wanted);
  const lines = found.paths.flatMap((path, index) => [...(index > 0 ? [''] : []), ...renderPath(path)]);
  const text = `${[...lines, ...(found.why === null ? [] : [found.why])].join('\n')}\n`;
  process.stdout.write(json ? formatJson(found) : text);
  return exitCodeOf(found);
});
