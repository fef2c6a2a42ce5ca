// The load of a torture run: orders in every way that writers commit them, and what users do to their carts meanwhile,
// at the plan's times. What fails because a server is away is counted and not repeated; what may or may not have
// happened (an answer lost) is told to the oracle as an edit, after which it demands only what is still certain.

import pg from 'pg';
import type { OrderLoad } from '../support/load/order-load.ts';
import type { Oracle } from '../support/oracle/oracle.ts';
import { pause } from './pause.ts';
import { cartShape, type LoadStep } from './plan.ts';
import type { TortureStack } from './stack.ts';

export interface LoadCounts {
  steps: number;
  /** Steps that failed, by SQLSTATE, system error or message. */
  readonly failures: Map<string, number>;
  additions: number;
  edits: number;
  /** Edits and additions of which nobody knows what became. */
  unknown: number;
}

type Edit = Extract<LoadStep, { user: number }>;

const apiDeadlineMs = 8_000;

/** Runs all steps until the last has ended, or `signal` is aborted; steps don't wait for one another. */
export async function runLoad(options: {
  readonly stack: TortureStack;
  readonly load: OrderLoad;
  readonly oracle: Oracle;
  readonly steps: readonly LoadStep[];
  readonly counts: LoadCounts;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { stack, load, oracle, steps, counts, signal } = options;
  const orders = new pg.Pool({ connectionString: stack.ordersUrl, max: 4, connectionTimeoutMillis: 5_000 });
  const carts = new pg.Pool({ connectionString: stack.cartsUrl, max: 4, connectionTimeoutMillis: 5_000 });
  for (const pool of [orders, carts]) pool.on('error', () => undefined);

  const runStep = async (step: LoadStep): Promise<void> => {
    switch (step.kind) {
      case 'single':
        await Promise.all(Array.from({ length: step.count }, (_, index) => load.place(step.first + index)));
        return;
      case 'multi-row':
        return load.insertTogether(step);
      case 'copy':
        return load.copyTogether(step);
      case 'savepoints':
        await load.insertWithSavepoints(step.first);
        return;
      case 'side-by-side':
        await load.commitSideBySide(step);
        return;
      case 'direct':
        await orders.query(directOrders, [step.first, step.count]);
        return;
      default:
        return edit(step);
    }
  };

  const edit = async (step: Edit): Promise<void> => {
    const [userId, sku] = [`user-${step.user}`, `SKU-${step.sku}`];
    if (step.kind === 'add') {
      counts.additions += 1;
      try {
        const lineId = step.through === 'sql' ? await addBySql(carts, step) : await addByApi(stack, step);
        oracle.noteAddition({ lineId, userId, sku, quantity: step.quantity });
      } catch (error) {
        oracle.noteEdit(userId, sku);
        counts.unknown += 1;
        throw error;
      }
      return;
    }
    counts.edits += 1;
    oracle.noteEdit(userId, sku);
    await editByApi(stack, step);
  };

  const running = new Set<Promise<void>>();
  const startMs = performance.now();
  try {
    for (const step of steps) {
      const waitMs = startMs + step.atMs - performance.now();
      if (waitMs > 0) await pause(waitMs, signal);
      signal.throwIfAborted();
      counts.steps += 1;
      const one: Promise<void> = runStep(step)
        .catch((error: Error) => {
          const reason = nameFailure(error);
          counts.failures.set(reason, (counts.failures.get(reason) ?? 0) + 1);
        })
        .finally(() => running.delete(one));
      running.add(one);
    }
  } finally {
    await Promise.all(running);
    await Promise.all([orders.end(), carts.end()]);
  }
}

function nameFailure(error: Error): string {
  for (let current: unknown = error; current instanceof Error; current = current.cause) {
    const { code } = current as { code?: unknown };
    if (typeof code === 'string') return code;
  }
  return error.message.slice(0, 80);
}

/** One statement is one transaction; parameters: from, count. */
const directOrders = `
  WITH placed AS (
    INSERT INTO orders (order_id, user_id, source, total_cents)
    SELECT md5('direct ' || i)::uuid, 'user-' || (i % ${cartShape.users}), 'direct', 100
    FROM generate_series($1::int, $1::int + $2::int - 1) AS i
    RETURNING order_id
  )
  INSERT INTO order_items (order_id, line_no, sku, quantity, unit_price_cents)
  SELECT order_id, 1, 'SKU-1', 1, 100 FROM placed`;

async function addBySql(carts: pg.Pool, { user, sku, quantity }: Edit): Promise<string> {
  const { rows } = await carts.query<{ line_id: string }>(
    `INSERT INTO cart_lines AS live (line_id, user_id, sku, quantity) VALUES (gen_random_uuid(), $1, $2, $3)
     ON CONFLICT (user_id, sku) DO UPDATE SET quantity = live.quantity + excluded.quantity RETURNING line_id`,
    [`user-${user}`, `SKU-${sku}`, quantity],
  );
  return rows[0]!.line_id;
}

async function addByApi(stack: TortureStack, { user, sku, quantity, through }: Edit): Promise<string> {
  const body = { sku: `SKU-${sku}`, quantity };
  const line = await request<{ lineId: string }>(stack, through, 'POST', `/carts/user-${user}/lines`, body);
  return line.lineId;
}

/** Changes or removes the user's line of that SKU, if there is one. */
async function editByApi(stack: TortureStack, { kind, user, sku, quantity, through }: Edit): Promise<void> {
  const cart = await request<{ lines: { lineId: string; sku: string }[] }>(
    stack,
    through,
    'GET',
    `/carts/user-${user}`,
  );
  const line = cart.lines.find((candidate) => candidate.sku === `SKU-${sku}`);
  if (line === undefined) return;
  const path = `/carts/user-${user}/lines/${line.lineId}`;
  if (kind === 'remove') await request(stack, through, 'DELETE', path);
  else await request(stack, through, 'PATCH', path, { quantity });
}

async function request<T>(
  stack: TortureStack,
  through: Edit['through'],
  method: string,
  path: string,
  body?: unknown,
): Promise<T> {
  const sink = stack.sinks[through === 'sql' ? 0 : through]!.service;
  if (sink === undefined) throw new Error('This sink is down.');
  const response = await fetch(`${sink.url}${path}`, {
    method,
    signal: AbortSignal.timeout(apiDeadlineMs),
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  const text = await response.text();
  // The line may have been ordered away between the two requests.
  if (!response.ok && !(response.status === 404 && method !== 'POST')) {
    throw new Error(`HTTP ${response.status}`);
  }
  return (text === '' ? undefined : JSON.parse(text)) as T;
}
