// GET /operations/orders on the reader's port: the path of an order by its id, of a user's newest orders, or of those that
// committed at a position. Guarantees: only to operators; one search at a time, over connections of its own that are closed
// again, so that the reader never waits for who asks. What is found is order-path.ts's.
import { z } from 'zod';
import { createKafkaLog } from '#kafka/reading/log.ts';
import { parseLsn } from '#schemas/lsn.ts';
import { orderPaths } from '#schemas/order-path.ts';
import { type OperatorPort, requireOperator } from '#service/auth/operators.ts';
import { createDatabase, type Database } from '#service/database.ts';
import type { ZodFastifyInstance } from '#service/http-server.ts';
import type { Logger } from '#service/logger.ts';
import { ProblemError, problemResponse } from '#service/problem.ts';
import type { CdcReaderConfig } from '../config.ts';
import { createSinkFacts } from './ask-sinks.ts';
import { findPaths, type PathSources, type Wanted } from './order-path.ts';

const PART_DEADLINE_MS = 1_000;
/** Below that, so that the connection is free again for the next search. */
const DATABASE_TIMEOUT_MS = 900;
/** A request to Kafka; a search has several, within the deadline of its part. */
const KAFKA_TIMEOUT_MS = 3_000;

const query = z
  .strictObject({
    order: z.guid('expected a UUID').toLowerCase().optional(),
    user: z
      .string()
      .regex(/^[A-Za-z0-9._:-]{1,64}$/, 'expected 1 to 64 characters of A-Z a-z 0-9 . _ : -')
      .optional(),
    lsn: z
      .string()
      .regex(/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/, 'expected X/Y in hex, like 0/16B3748')
      .optional(),
  })
  .refine((given) => Object.values(given).filter((one) => one !== undefined).length === 1, {
    message: 'expected one of order, user and lsn',
  });

const schema = {
  tags: ['operations'],
  summary: 'The path of an order from its row to its effect',
  querystring: query,
  response: {
    200: orderPaths,
    401: problemResponse('Not on loopback: no token, or none that is accepted'),
    403: problemResponse('Not on loopback: the token lacks the scope operator'),
  },
};

export interface OrderFinder {
  readonly addRoute: (app: ZodFastifyInstance) => void;
  close(): Promise<void>;
}

export function createOrderFinder(config: CdcReaderConfig, port: OperatorPort, logger: Logger): OrderFinder {
  const orders = openOrders(config, logger);
  const { slotName, ordersTopic, checkpointTopic, kafka, applicationName } = config;
  const sources: PathSources = {
    orders,
    openLog: () =>
      createKafkaLog({ kafka, clientId: `${applicationName}-find`, logger, requestTimeoutMs: KAFKA_TIMEOUT_MS }),
    carts: createSinkFacts({ urls: config.cartSinkOperationsUrls ?? [], access: config.operationsAccess }),
    names: { slotName, ordersTopic, checkpointTopic },
    deadlineMs: PART_DEADLINE_MS,
  };
  let isSearching = false;
  const find = async (wanted: Wanted) => {
    if (isSearching) throw createBusy();
    isSearching = true;
    try {
      return await findPaths(sources, wanted);
    } finally {
      isSearching = false;
    }
  };
  return {
    addRoute: (app) => {
      app.get('/operations/orders', { schema, onRequest: requireOperator(port) }, ({ query: given }) =>
        find(toWanted(given)),
      );
    },
    close: orders.close,
  };
}

function toWanted({ order, user, lsn }: z.infer<typeof query>): Wanted {
  if (order !== undefined) return { kind: 'order', orderId: order };
  if (user !== undefined) return { kind: 'user', userId: user };
  return { kind: 'lsn', commitLsn: parseLsn(lsn!) };
}

function openOrders({ orderDatabase, applicationName }: CdcReaderConfig, logger: Logger): Database {
  return createDatabase({
    postgres: orderDatabase,
    applicationName: `${applicationName}-find`,
    poolSize: 1,
    statementTimeoutMs: DATABASE_TIMEOUT_MS,
    lockTimeoutMs: DATABASE_TIMEOUT_MS,
    idleInTransactionTimeoutMs: DATABASE_TIMEOUT_MS,
    connectTimeoutMs: DATABASE_TIMEOUT_MS,
    acquireTimeoutMs: DATABASE_TIMEOUT_MS,
    logger,
  });
}

function createBusy(): ProblemError {
  return new ProblemError({
    status: 503,
    title: 'Busy',
    detail: 'Another search is running: retry.',
    headers: { 'retry-after': '1' },
  });
}
