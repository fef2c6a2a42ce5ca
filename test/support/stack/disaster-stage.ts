// A stage for disasters: reader and sink as processes, full carts, orders that go on being placed meanwhile, and the
// operators' commands. What a disaster must not do is judged by `npm run audit` and, apart from it, by plain SQL: every
// order of one database is in the ledger of the other, and took what it ordered, since the carts hold enough.

import { serverOf } from '#service/postgres/database-server.ts';
import { migrateCarts } from '../../../cart-sink/migrate-carts.ts';
import { createLogger } from '../../../service/logger.ts';
import { createOrderLoad, fillCarts } from '../load/order-load.ts';
import type { LogEntry, Service } from '../process/service-process.ts';
import { runTool, type ToolName, type ToolResult } from '../process/tool-process.ts';
import { waitFor } from '../wait.ts';
import { withServer } from './environment.ts';
import { createPipelineStage, type PipelineStage } from './pipeline-stage.ts';
import { startSink as startHaltingSink } from './start-services.ts';

/** Orders that the carts are filled for. */
const CART_ORDERS = 5_000;
const ORDERS_PER_SECOND = 20;
const PACE_COUNT = 5;

/** For waits on traffic, which a busy machine slows down. */
export const slow = { deadlineMs: 60_000, everyMs: 100 };

type Traffic = {
  /** Stops placing orders; throws when one could not be placed. */
  stop(): Promise<void>;
};

export type DisasterStage = Pick<
  PipelineStage,
  'environment' | 'load' | 'startReader' | 'startStreaming' | 'startSink' | 'cleanUp'
> & {
  /** The numbers of orders placed so far end here. */
  nextOrder(): number;
  /** Places orders until it is stopped, in the stage's orders database or another one. */
  startTraffic(ordersUrl?: string): Traffic;
  /** Starts a sink without waiting for more than its process. */
  startHaltingSink(): Promise<Service>;
  waitHalted(service: Service, code: string): Promise<LogEntry>;
  /** Runs a command and, by default, throws with all that it wrote unless it ends with 0. */
  run(name: ToolName, args: readonly string[], more?: RunOptions): Promise<ToolResult>;
  /** The replay command that adopt printed, as arguments: the first one, or the one that `pattern` fits. */
  replayCommand(adopted: ToolResult, pattern?: RegExp): string[];
  orders(text: string): Promise<Record<string, unknown>[]>;
  carts(text: string): Promise<Record<string, unknown>[]>;
  /** Waits until every order is applied. */
  waitApplied(): Promise<void>;
  /** Audit and plain SQL agree that every order had its effect once. */
  requireWhole(more?: Record<string, string>): Promise<void>;
};

type RunOptions = {
  readonly code?: number;
  readonly env?: Record<string, string>;
  readonly failpoints?: string;
};

/** `given`: on that stage, instead of one on the run's shared servers. */
export async function createDisasterStage(label: string, given?: PipelineStage): Promise<DisasterStage> {
  const stage = given ?? (await createPipelineStage(label));
  const { environment, load, startReader, startStreaming, startSink, cleanUp } = stage;
  const { env } = environment;
  let next = 0;

  const query = (url: string) => async (text: string) => (await withServer(url, (client) => client.query(text))).rows;
  const orders = query(env.ORDER_DATABASE_URL);
  const carts = query(env.CART_DATABASE_URL);

  await migrateCarts({ postgres: serverOf(env.CART_DATABASE_URL), logger: createLogger('test', 'silent') });
  await fillCarts({ first: 0, count: CART_ORDERS, cartsUrl: env.CART_DATABASE_URL });
  await carts('CREATE TABLE stage_lines AS SELECT user_id, sku, quantity FROM cart_lines');
  await carts('CREATE TABLE stage_stock AS SELECT sum(quantity) AS quantity FROM cart_lines');

  const run: DisasterStage['run'] = async (name, args, { code = 0, env: more = {}, failpoints } = {}) => {
    const result = await runTool(name, args, { ...env, ...more }, failpoints === undefined ? {} : { failpoints });
    if (result.code !== code) {
      const command = `npm run ${name} -- ${args.join(' ')}`;
      throw new Error(`${command} ended with ${result.code} instead of ${code}:\n${result.stdout}${result.stderr}`);
    }
    return result;
  };

  /** Stock is enough for all, so every item took all that it ordered: more or less is an effect too many or too few. */
  const requireEffects = async (ordersUrl: string): Promise<void> => {
    const ids = 'SELECT order_id::text AS id FROM';
    const placed = await query(ordersUrl)(`${ids} orders ORDER BY order_id`);
    const applied = await carts(`${ids} applied_orders ORDER BY order_id`);
    if (JSON.stringify(placed) !== JSON.stringify(applied)) {
      throw new Error(`${placed.length} orders were placed, ${applied.length} are in the ledger, or others`);
    }
    const wanted = await query(ordersUrl)(
      'SELECT order_id::text, line_no, quantity::int AS pieces FROM order_items ORDER BY order_id, line_no',
    );
    const taken = await carts(
      'SELECT order_id::text, line_no, sum(removed)::int AS pieces FROM cart_removals GROUP BY 1, 2 ORDER BY 1, 2',
    );
    const wrong = wanted.filter((item, index) => JSON.stringify(item) !== JSON.stringify(taken[index]));
    if (wrong.length > 0 || taken.length !== wanted.length) {
      throw new Error(`${wrong.length} of ${wanted.length} order items did not take what was ordered`);
    }
    const [sum] = await carts(`
      SELECT (SELECT coalesce(sum(quantity), 0) FROM cart_lines) + (SELECT coalesce(sum(removed), 0) FROM cart_removals)
        = (SELECT quantity FROM stage_stock) AS is_conserved`);
    if (sum!.is_conserved !== true) throw new Error('goods were lost or made');
  };

  return {
    environment,
    load,
    orders,
    carts,
    run,
    nextOrder: () => next,
    startTraffic(ordersUrl) {
      let isStopped = false;
      const running = (async () => {
        const on = ordersUrl === undefined ? load : await createOrderLoad({ ordersUrl });
        try {
          while (!isStopped) {
            const first = next;
            next += PACE_COUNT;
            if (next > CART_ORDERS) throw new Error(`the carts are filled for ${CART_ORDERS} orders only`);
            await on.pace({ first, count: PACE_COUNT, ordersPerSecond: ORDERS_PER_SECOND });
          }
        } finally {
          if (on !== load) await on.close();
        }
      })();
      running.catch(() => undefined);
      return {
        async stop() {
          isStopped = true;
          await running;
        },
      };
    },
    startReader,
    startStreaming,
    startSink,
    startHaltingSink: () => startHaltingSink(environment),
    async waitHalted(service, code) {
      const halted = await service.waitForLog('pipeline.halted', { deadlineMs: 60_000 });
      if (halted.code !== code)
        throw new Error(`${service.name} halted with ${halted.code} instead of ${code}: ${halted.msg}`);
      return halted;
    },
    replayCommand({ stdout }, pattern = /npm run replay -- .*/) {
      const found = pattern.exec(stdout)?.[0].match(/npm run replay -- ((?:--[\w-]+ [\w/:]+ ?)+)/)?.[1];
      if (found === undefined) throw new Error(`no replay command in:\n${stdout}`);
      return found.trim().split(' ');
    },
    async waitApplied() {
      await waitFor(
        'every order to be applied',
        async () => {
          const [placed] = await orders('SELECT count(*)::int AS n FROM orders');
          const [applied] = await carts('SELECT count(*)::int AS n FROM applied_orders');
          if (applied!.n !== placed!.n) throw new Error(`${applied!.n} of ${placed!.n}`);
          return true;
        },
        slow,
      );
    },
    async requireWhole(more = {}) {
      await run('audit', ['--wait-seconds', '60'], { env: more });
      await requireEffects(more.ORDER_DATABASE_URL ?? env.ORDER_DATABASE_URL);
    },
    cleanUp,
  };
}
