// How fast a replay is, from each source that has positions: the ledger and the carts are set back to before the orders,
// then the tool replays them all while the sink runs, as beside a live pipeline. The time runs from the start of the run,
// behind its plan, to the end record of the last partition, by the carts database's clock.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fillCarts } from '../support/load/order-load.ts';
import { type BenchStack, query } from './stack.ts';

export interface ReplayRate {
  readonly source: 'kafka' | 'wal';
  readonly ordersPerSecond: number;
}

const repository = join(import.meta.dirname, '..', '..');
const deadlineMs = 300_000;

/** Replays all orders that `env` has applied, from `source`; throws unless the tool's proof agrees and each was applied. */
export async function measureReplay(
  stack: BenchStack,
  env: Record<string, string>,
  source: ReplayRate['source'],
): Promise<ReplayRate> {
  const cartsUrl = env.CART_DATABASE_URL!;
  const [ledger] = await query<{ first_lsn: string; orders: number }>(
    cartsUrl,
    'SELECT min(commit_lsn)::text AS first_lsn, count(*)::int AS orders FROM applied_orders',
  );
  const { first_lsn: firstLsn, orders } = ledger!;
  await query(cartsUrl, 'TRUNCATE cart_lines, applied_orders, cart_removals');
  await fillCarts({ cartsUrl, first: 0, count: orders });
  await query(cartsUrl, 'VACUUM ANALYZE');
  const sink = await stack.startService('cart-sink', env);
  try {
    await sink.waitForLog('sink.assigned');
    const toolArguments = ['--from-lsn', firstLsn, '--source', source, '--yes'];
    await promisify(execFile)(process.execPath, [join(repository, 'tools/replay/main.ts'), ...toolArguments], {
      cwd: repository,
      env: { ...process.env, ...env },
      timeout: deadlineMs,
    });
  } finally {
    await sink.stop();
  }
  const [run] = await query<{ applied: string; seconds: string }>(
    cartsUrl,
    `SELECT sum(applied) AS applied, extract(epoch FROM max(ended_at) - min(created_at)) AS seconds
     FROM replay_results JOIN replay_runs USING (run_id)
     WHERE run_id = (SELECT run_id FROM replay_runs ORDER BY created_at DESC LIMIT 1) AND state = 'agreed'`,
  );
  if (Number(run?.applied) !== orders)
    throw new Error(`The replay applied ${run?.applied} orders instead of ${orders}.`);
  return { source, ordersPerSecond: orders / Number(run!.seconds) };
}
