// One kill of a lone broker under the whole pipeline: orders come, the broker is killed and loses a part of what it had not
// flushed, and starts again. Then reader and sink go on, halt by name, or wait by name; what they did to the carts is checked by
// plain SQL: no order took effect twice or in part, and where both go on, or the halt's commands were run, every order took effect.
import { join } from 'node:path';
import type { LocalKafka } from '../../dev/servers/local-kafka.ts';
import type { Service } from '../support/process/service-process.ts';
import { withServer } from '../support/stack/environment.ts';
import type { PipelineStage } from '../support/stack/pipeline-stage.ts';
import { waitFor } from '../support/wait.ts';
import { carryOutCuts, type Damage, planCuts, planDamage, readSizes } from './damage.ts';
import { repair } from './repair.ts';

export interface Fleet {
  readonly stage: PipelineStage;
  readonly reader: Service;
  sink: Service;
  nextOrder: number;
}

export interface Outcome {
  readonly kind: 'went on' | 'halted' | 'waits' | 'STUCK';
  /** The names of halts and waits. */
  readonly names: readonly string[];
  readonly damage: Damage;
  readonly cutBytes: number;
  readonly isSinkLate: boolean;
  readonly seconds: number;
  /** What no fault justifies, in words. */
  readonly wrong: readonly string[];
}

const ordersPerRound = 150;
const ordersPerSecond = 150;
const deadlineMs = 90_000;
/** A hanging transaction that has lost its coordinator's record never ends by itself. */
const waitingIsFinalAfterMs = 40_000;
const haltsSettleMs = 8_000;
/** For the sink that comes late: as long as a reader needs to publish the rest. */
const lateByMs = 6_000;

const pauseFor = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export async function runRound(
  { kafka, root }: { kafka: LocalKafka; root: string },
  fleet: Fleet,
  random: () => number,
): Promise<Outcome> {
  const { stage } = fleet;
  const { ORDERS_TOPIC: live, CHECKPOINT_TOPIC: checkpoint } = stage.environment.env;
  const dataDirectory = join(root, 'kafka', 'broker-1', 'data');
  const topics = { live, checkpoint };
  const damage = planDamage(random);
  const isSinkLate = random() < 0.35;
  const [imageAfterMs, killAfterMs] = [100 + random() * 700, random() * 300];

  const flushed = readSizes(dataDirectory, topics);
  const first = fleet.nextOrder;
  fleet.nextOrder += ordersPerRound;
  const load = stage.load.pace({ first, count: ordersPerRound, ordersPerSecond });
  await pauseFor(imageAfterMs);
  const image = readSizes(dataDirectory, topics);
  await pauseFor(killAfterMs);
  const [broker] = kafka.brokers;
  await broker!.kill();
  if (isSinkLate) await fleet.sink.kill();
  await load;
  const cuts = planCuts(damage, { flushed, image, now: readSizes(dataDirectory, topics, damage.kinds) }, random);
  carryOutCuts(cuts);
  const startedMs = performance.now();
  await broker!.start();
  if (isSinkLate) {
    await pauseFor(lateByMs);
    fleet.sink = await stage.startSink();
  }
  const found = await waitForOutcome(fleet);
  const seconds = (performance.now() - startedMs) / 1_000;
  const cutBytes = cuts.reduce((sum, { fromBytes, toBytes }) => sum + fromBytes - toBytes, 0);
  const wrong = await findWrong(stage, found.kind === 'went on');
  const repaired = found.kind === 'halted' ? await repairAndFindWrong(fleet) : { names: [], wrong: [] };
  wrong.push(...repaired.wrong);
  const stuck = found.kind === 'STUCK' ? [`neither went on nor named why within ${deadlineMs / 1_000} s`] : [];
  const names = [...found.names, ...repaired.names];
  return { ...found, names, damage, cutBytes, isSinkLate, seconds, wrong: [...stuck, ...wrong] };
}

async function waitForOutcome(fleet: Fleet): Promise<Pick<Outcome, 'kind' | 'names'>> {
  const sinceMs = performance.now();
  let haltedSinceMs: number | undefined;
  let known = '';
  for (;;) {
    const halts = [fleet.reader, fleet.sink].flatMap(({ logs }) =>
      logs.filter(({ event }) => event === 'pipeline.halted').map(({ code }) => String(code)),
    );
    const elapsedMs = performance.now() - sinceMs;
    if (halts.join() !== known) [known, haltedSinceMs] = [halts.join(), performance.now()];
    if (haltedSinceMs !== undefined && performance.now() - haltedSinceMs > haltsSettleMs) {
      return { kind: 'halted', names: [...new Set(halts)].sort() };
    }
    if (halts.length === 0 && (await countMissing(fleet.stage)) === 0) return { kind: 'went on', names: [] };
    if (elapsedMs > waitingIsFinalAfterMs) {
      const waits = (await Promise.all([fleet.reader, fleet.sink].map(readWait))).filter((name) => name !== undefined);
      if (waits.length > 0) return { kind: 'waits', names: waits };
    }
    if (elapsedMs > deadlineMs) return { kind: 'STUCK', names: halts };
    await pauseFor(300);
  }
}

async function repairAndFindWrong({ stage, reader, sink }: Fleet): Promise<Pick<Outcome, 'names' | 'wrong'>> {
  await Promise.all([reader.stop(), sink.stop()]);
  try {
    if ((await repair(stage)) === 'hangs') return { names: ['(a transaction hangs)'], wrong: [] };
    await waitFor('every order to be applied', async () => (await countMissing(stage)) === 0, {
      deadlineMs,
      everyMs: 200,
    });
  } catch (error) {
    return { names: [], wrong: [`the repair failed: ${(error as Error).message}`] };
  }
  return { names: ['(repaired)'], wrong: await findWrong(stage, true) };
}

/** By which name a service waits for a person, in its readiness or its health. */
async function readWait(service: Service): Promise<string | undefined> {
  for (const path of ['/health/pipeline', '/health/ready']) {
    const text = await (await fetch(`${service.url}${path}`)).text();
    const name = /CHECKPOINT_HIDDEN|LIVE_TOPIC_UNSETTLED|LOG_READ_DEADLINE/.exec(text)?.[0];
    if (name !== undefined) return name;
  }
  return undefined;
}

async function readIds(url: string, table: string): Promise<Set<string>> {
  const { rows } = await withServer(url, (client) =>
    client.query<{ id: string }>(`SELECT order_id::text AS id FROM ${table}`),
  );
  return new Set(rows.map(({ id }) => id));
}

async function countMissing({ environment: { env } }: PipelineStage): Promise<number> {
  const ledger = await readIds(env.CART_DATABASE_URL, 'applied_orders');
  return (await readIds(env.ORDER_DATABASE_URL, 'orders')).difference(ledger).size;
}

interface Item {
  readonly order_id: string;
  readonly line_no: number;
  readonly pieces: number;
}

/** The carts hold more than is ordered, so every applied item took exactly what it ordered. */
async function findWrong({ environment: { env } }: PipelineStage, isWhole: boolean): Promise<string[]> {
  const wrong: string[] = [];
  const [orders, ledger] = [
    await readIds(env.ORDER_DATABASE_URL, 'orders'),
    await readIds(env.CART_DATABASE_URL, 'applied_orders'),
  ];
  const phantoms = ledger.difference(orders).size;
  if (phantoms > 0) wrong.push(`${phantoms} orders were applied that nobody placed`);
  const missing = orders.difference(ledger).size;
  if (isWhole && missing > 0) wrong.push(`${missing} orders were not applied`);
  const ordered = await withServer(env.ORDER_DATABASE_URL, (client) =>
    client.query<Item>('SELECT order_id::text, line_no, quantity::int AS pieces FROM order_items'),
  );
  const taken = await withServer(env.CART_DATABASE_URL, (client) =>
    client.query<Item>(
      'SELECT order_id::text, line_no, sum(removed)::int AS pieces FROM cart_removals GROUP BY order_id, line_no',
    ),
  );
  const piecesOf = new Map(taken.rows.map((item) => [`${item.order_id}/${item.line_no}`, item.pieces]));
  const odd = ordered.rows.filter(({ order_id, line_no, pieces }) => {
    return ledger.has(order_id) && piecesOf.get(`${order_id}/${line_no}`) !== pieces;
  });
  if (odd.length > 0) wrong.push(`${odd.length} items did not take what was ordered`);
  const stock = await withServer(env.CART_DATABASE_URL, (client) =>
    client.query<{ is_conserved: boolean }>(`
      SELECT (SELECT coalesce(sum(quantity), 0) FROM cart_lines) + (SELECT coalesce(sum(removed), 0) FROM cart_removals)
        = (SELECT quantity FROM round_stock) AS is_conserved`),
  );
  if (!stock.rows[0]!.is_conserved) wrong.push('goods were taken twice, lost or made');
  return wrong;
}

/** A pipeline with names of its own, whose carts hold enough for `orders`. */
export async function openFleet(stage: PipelineStage, orders: number): Promise<Fleet> {
  const sink = await stage.startSink();
  await stage.openCarts(orders);
  await withServer(stage.environment.env.CART_DATABASE_URL, (client) =>
    client.query('CREATE TABLE round_stock AS SELECT sum(quantity) AS quantity FROM cart_lines'),
  );
  const reader = await stage.startStreaming();
  const fleet = { stage, reader, sink, nextOrder: 10 };
  await stage.load.backlog({ first: 0, count: 10 });
  await waitFor('the first orders to be applied', async () => (await countMissing(stage)) === 0, {
    deadlineMs: 60_000,
    everyMs: 100,
  });
  return fleet;
}
