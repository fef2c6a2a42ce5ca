// The replay tool as an operator runs it, on a pipeline of real processes: what it plans, publishes, proves, and how it
// goes on after being stopped. Judged by the carts, the ledger and what lies in the replay topic.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKafkaLog } from '#kafka/reading/log.ts';
import { plainServers } from '#kafka/servers.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { parseReplayHeaders } from '#schemas/replay/records.ts';
import { createLogger } from '#service/logger.ts';
import { createOrderLoad, fillCarts, type OrderLoad } from '../../support/load/order-load.ts';
import { assertClean, type Oracle } from '../../support/oracle/oracle.ts';
import { findRunId, runTool, startTool } from '../../support/process/tool-process.ts';
import { createTestEnvironment, type TestEnvironment, withServer } from '../../support/stack/environment.ts';
import { createEnvironmentOracle } from '../../support/stack/pipeline-stage.ts';
import { waitFor } from '../../support/wait.ts';

const orderCount = 600;

let environment: TestEnvironment;
let load: OrderLoad;
let oracle: Oracle;
/** Numbers of orders placed so far: loads don't overlap. */
let placed = 0;

beforeAll(async () => {
  environment = await createTestEnvironment('replay_tool');
  const { env } = environment;
  oracle = createEnvironmentOracle(environment, { carts: true });
  await (await environment.startService('order-api')).waitReady();
  await (await environment.startService('cart-sink')).waitReady();
  const reader = await environment.startService('cdc-reader');
  await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
  load = await createOrderLoad({ ordersUrl: env.ORDER_DATABASE_URL });
  await fillCarts({ first: 0, count: 10_000, cartsUrl: env.CART_DATABASE_URL });
  await oracle.openCarts();
  await place(orderCount);
});

afterAll(async () => {
  await load?.close();
  await environment?.cleanUp();
});

async function place(count: number): Promise<void> {
  await load.backlog({ first: placed, count });
  placed += count;
  await oracle.waitUntilDrained(60_000);
}

async function carts<R>(text: string, values: unknown[] = []): Promise<R[]> {
  return withServer(
    environment.env.CART_DATABASE_URL,
    async (client) => (await client.query(text, values)).rows as R[],
  );
}

/** Everything that a replay under an unchanged rule must leave alone (I10). */
async function readEffects() {
  return {
    lines: await carts('SELECT line_id, user_id, sku, quantity FROM cart_lines ORDER BY line_id'),
    ledger: await carts('SELECT order_id, rule_version FROM applied_orders ORDER BY order_id'),
    removals: await carts('SELECT order_id, line_no, entry, line_id, removed FROM cart_removals ORDER BY 1, 2, 3'),
  };
}

/** Where the first order placed from `number` of orders on was committed. */
async function firstPositionAfter(applied: number): Promise<string> {
  const [row] = await carts<{ lsn: string }>(
    'SELECT commit_lsn::text AS lsn FROM applied_orders ORDER BY commit_lsn OFFSET $1 LIMIT 1',
    [applied],
  );
  return row!.lsn;
}

const effectTables = ['cart_lines', 'applied_orders', 'cart_removals'];

/** Keeps carts, ledger and removals as they are; returns what sets them back, while Kafka's offsets stay. */
async function keepBackup(): Promise<() => Promise<void>> {
  const all = (format: (table: string) => string) => carts(effectTables.map(format).join('; '));
  await all((table) => `DROP TABLE IF EXISTS backup_${table}; CREATE TABLE backup_${table} AS TABLE ${table}`);
  return async () => {
    const restore = effectTables.map((table) => `DELETE FROM ${table}; INSERT INTO ${table} TABLE backup_${table}`);
    await carts(`BEGIN; ${restore.join('; ')}; COMMIT`);
  };
}

/** The ids of the orders that a run has published, as they lie in the replay topic, and its end records; not what a killed tool left open. */
async function readPublished(runId: string): Promise<{ orders: string[]; ends: number }> {
  const { env } = environment;
  const topic = env.REPLAY_TOPIC;
  const log = await createKafkaLog({
    kafka: plainServers(env.KAFKA_BROKERS.split(',')),
    clientId: 'replay-tool-test',
    logger: createLogger('test', 'silent'),
  });
  const orders: string[] = [];
  let ends = 0;
  try {
    for (const [partition, { earliest, lastStable }] of await log.readOffsets(topic)) {
      const range = { topic, partition, fromOffset: earliest, untilOffset: lastStable, deadlineMs: 10_000 };
      for await (const records of log.readRecords({ ...range, isolation: 'read_committed' })) {
        for (const { headers, value } of records) {
          const found = parseReplayHeaders(headers);
          if (found?.stamp.runId !== runId) continue;
          if (found.kind === 'order') orders.push(decodeOrderPlaced(value!).orderId);
          if (found.kind === 'end') ends += 1;
        }
      }
    }
  } finally {
    await log.close();
  }
  return { orders, ends };
}

async function expectPublishedOnce(runId: string, count: number): Promise<void> {
  const { orders, ends } = await readPublished(runId);
  expect(orders).toHaveLength(count);
  expect(new Set(orders).size).toBe(count);
  expect(ends).toBe(6);
}

const replay = (...args: string[]) => runTool('replay', args, environment.env);

describe('npm run replay', () => {
  it('repairs what a carts database that was set back has lost, from each source, and proves it', async () => {
    const setBack = await keepBackup();
    const applied = placed;
    await place(300);
    const complete = await readEffects();
    const from = await firstPositionAfter(applied);
    for (const args of [
      ['--source', 'tables', '--yes'],
      ['--from-lsn', from, '--source', 'wal', '--yes'],
      ['--from-lsn', from, '--yes'],
    ]) {
      await setBack();
      const { code, stdout, stderr } = await replay(...args);
      expect(stderr).toBe('');
      expect(stdout).toMatch(/would change +300 that the ledger lacks would be applied, 0 are there already/);
      expect(stdout).toMatch(/all +300 +300 +0 +0 +0/);
      expect(stdout).toContain('Verdict: agreed');
      expect(code).toBe(0);
      const repaired = await readEffects();
      expect(repaired.lines).toEqual(complete.lines);
      expect(repaired.ledger).toEqual(complete.ledger);
      await expectPublishedOnce(findRunId(stdout), 300);
    }
  });

  it('leaves everything as it was when nothing is missing, in either mode, and as often as one likes', async () => {
    const before = await readEffects();
    const runs: string[] = [];
    for (const mode of ['repair', 'reapply', 'reapply']) {
      const { code, stdout, stderr } = await replay('--from-lsn', '0/1', '--mode', mode, '--yes');
      expect(stdout).toContain('Verdict: agreed');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(await readEffects()).toEqual(before);
      runs.push(findRunId(stdout));
    }
    // The newest verdict is kept for consoles, and showing an older run does not replace it.
    const status = await replay('status', runs[0]!, '--json');
    expect(JSON.parse(status.stdout)).toMatchObject({ run: runs[0], state: 'agreed', proof: { agrees: true } });
    const [kept] = await carts<{ verdict: Record<string, string> }>(
      `SELECT verdict FROM verdicts WHERE kind = 'replay'`,
    );
    const { verdict } = kept!;
    expect(verdict).toMatchObject({ run: runs[2], published: String(placed), already: String(placed), parked: '0' });
    expect(verdict.sourceChecksum).toMatch(/^[0-9a-f]{16}$/);
    expect(verdict.appliedChecksum).toBe(verdict.sourceChecksum);
  });

  it('shows a dry run by order and line, and changes nothing', async () => {
    const complete = await readEffects();
    const setBack = await keepBackup();
    const [line] = await carts<{ order_id: string; line_id: string; sku: string; removed: number }>(
      'SELECT order_id, line_id, sku, removed FROM cart_removals WHERE removed > 0 ORDER BY 1, line_no LIMIT 1',
    );
    // As if a wrong rule had taken one piece less.
    const { order_id, line_id, sku } = line!;
    await carts(`UPDATE cart_removals SET removed = removed - 1 WHERE order_id = '${order_id}' AND sku = '${sku}'`);
    await carts(`UPDATE cart_lines SET quantity = quantity + 1 WHERE line_id = '${line_id}'`);
    const wrong = await readEffects();
    const runs = await carts('SELECT run_id FROM replay_runs');
    const dry = await replay('--from-lsn', '0/1', '--mode', 'reapply', '--dry-run');
    expect(dry.code).toBe(0);
    expect(dry.stdout).toContain(`  order ${order_id}:\n    ${sku} -1 (line ${line_id})`);
    expect(dry.stdout).toMatch(/0 that the ledger lacks would be applied, 1 would change/);
    expect(dry.stdout).toContain('nothing was changed');
    expect(await readEffects()).toEqual(wrong);
    expect(await carts('SELECT run_id FROM replay_runs')).toEqual(runs);
    const run = await replay('--from-lsn', '0/1', '--mode', 'reapply', '--order', order_id, '--yes');
    expect(run.stdout).toMatch(/all +1 +0 +0 +1 +0/);
    expect(run.code).toBe(0);
    expect((await readEffects()).lines).toEqual(complete.lines);
    await setBack();
  });

  it.each(['replay.before-commit', 'replay.after-commit'])(
    'killed at %s is resumed, exactly once',
    async (failpoint) => {
      const total = placed;
      const before = await readEffects();
      const args = ['--from-lsn', '0/1', '--rate', '400', '--yes'];
      const killed = await runTool('replay', args, environment.env, { failpoints: `${failpoint}=kill:2` });
      expect(killed.code).toBeNull();
      const runId = findRunId(killed.stdout);
      const { orders, ends } = await readPublished(runId);
      expect(orders.length).toBeGreaterThan(0);
      expect(orders.length).toBeLessThan(total);
      expect(ends).toBe(0);
      const resumed = await replay('resume', runId);
      expect(resumed.stderr).toBe('');
      expect(resumed.stdout).toContain('Verdict: agreed');
      expect(resumed.code).toBe(0);
      await expectPublishedOnce(runId, total);
      expect(await readEffects()).toEqual(before);
      const again = await replay('resume', runId);
      expect(again.code).toBe(64);
      expect(again.stderr).toMatch(/^replay: RUN_ID: run .* is over \(agreed\)/);
    },
  );

  it('stops cleanly when it is told to, lets no other run begin, and goes on or is given up', async () => {
    const total = placed;
    const args = ['--from-lsn', '0/1', '--rate', '20', '--yes'];
    const first = await startTool('replay', args, environment.env);
    await first.waitForOutput('publishing');
    const runId = findRunId(first.stdout());
    await waitFor('the first orders to be applied', async () => {
      return (await carts(`SELECT FROM replay_results WHERE run_id = '${runId}'`)).length > 0;
    });
    const beside = await replay('--from-lsn', '0/1');
    expect(beside.code).toBe(75);
    expect(beside.stderr).toContain('one run at a time');
    first.signal('SIGINT');
    first.signal('SIGINT');
    // On a busy machine the second may meet a process that has said all and is ending, without handlers: 130 to a shell.
    expect(await first.exited).toBeOneOf([
      { code: 130, signal: null },
      { code: null, signal: 'SIGINT' },
    ]);
    expect(first.stdout()).toContain(`npm run replay -- resume ${runId}`);

    const next = await replay('--from-lsn', '0/1');
    expect(next.code).toBe(75);
    expect(next.stderr).toContain(`resume ${runId}`);
    const status = await replay('status', runId);
    expect(status.stdout).toMatch(/state +publishing/);
    expect(status.stdout).toMatch(new RegExp(`published +\\d+ of ${total.toLocaleString('en-US')} orders`));

    const resumed = await startTool('replay', ['resume', runId], environment.env);
    await resumed.waitForOutput('publishing');
    resumed.signal('SIGTERM');
    expect((await resumed.exited).code).toBe(130);
    const cancelled = await replay('cancel', runId);
    expect(cancelled.code).toBe(0);
    expect((await replay('status', runId)).stdout).toMatch(/state +cancelled/);
    expect((await replay('resume', runId)).code).toBe(64);
    expect((await replay('--from-lsn', '0/1', '--user', 'user-7', '--yes')).code).toBe(0);
  });

  it('runs beside live traffic; a reapply without an end takes what was applied meanwhile too', async () => {
    const count = 600;
    const before = placed;
    const traffic = load.pace({ first: placed, count, ordersPerSecond: 60 });
    placed += count;
    const { code, stdout, stderr } = await replay('--from-lsn', '0/1', '--mode', 'reapply', '--yes');
    expect(stderr).toBe('');
    expect(stdout).toContain('The first pass is published');
    expect(stdout).toContain('Verdict: agreed');
    expect(code).toBe(0);
    const { orders } = await readPublished(findRunId(stdout));
    expect(orders.length).toBeGreaterThan(before);
    await traffic;
    await oracle.waitUntilDrained(60_000);
    assertClean(await oracle.check());
    expect(await carts('SELECT FROM cart_removals WHERE entry > 0 AND removed <> 0')).toEqual([]);
  });
});

describe('the replay tool', () => {
  it('says what each source covers', async () => {
    const { code, stdout } = await replay('coverage');
    expect(code).toBe(0);
    expect(stdout).toMatch(/kafka: 0\/0 to [0-9A-F/]+ \(/);
    expect(stdout).toMatch(/wal: [0-9A-F/]+ to [0-9A-F/]+ \(/);
    expect(stdout).toMatch(/tables: nothing \(/);
  });

  it.each([
    [['--from-lsn', 'FF/0'], 64, /--from-lsn: FF\/0 is in the future; valid is up to 0\//],
    [['--from-lsn', '7:0/1'], 64, /--from-lsn: timeline 7 is not in the history.*valid are 1:0\/0 to 1:0\//],
    [['--from-lsn', '0/1', '--to-lsn', 'FF/0'], 64, /--to-lsn: FF\/0 is in the future/],
    [['--from-time', '2001-01-01T00:00Z', '--rate', 'x'], 64, /--rate/],
    [['status', '01900000-0000-7000-8000-000000000000'], 64, /RUN_ID: there is no run .* the latest are/],
    [['resume', 'x'], 64, /RUN_ID: "x" is no run id/],
    [['--from-lsn', '0/1'], 64, /no terminal to ask on; nothing was changed.*--yes/],
    [['--from-lsn', '0/1', '--source', 'wal'], 69, /wal: .*--source tables/s],
  ])('refuses %j with exit code %d', async (args, exitCode, words) => {
    const runs = await carts('SELECT run_id FROM replay_runs');
    const { code, stderr } = await replay(...args);
    expect(stderr).toMatch(words);
    expect(code).toBe(exitCode);
    expect(await carts('SELECT run_id FROM replay_runs')).toEqual(runs);
  });

  it('refuses databases that are not the pipeline’s', async () => {
    const { env } = environment;
    const run = (more: Record<string, string>) => runTool('replay', ['--from-lsn', '0/1'], { ...env, ...more });
    const foreign = await run({ ORDER_DATABASE_URL: environment.servers.orderServerUrl });
    expect(foreign).toMatchObject({ code: 78 });
    expect(foreign.stderr).toMatch(/ORDER_DATABASE_URL: that database is postgres/);
    const empty = await run({ CART_DATABASE_URL: environment.servers.cartServerUrl });
    expect(empty).toMatchObject({ code: 78 });
    expect(empty.stderr).toMatch(/CART_DATABASE_URL: .*npm run migrate/);
    const nobody = await run({ CONSUMER_GROUP: 'nobody' });
    expect(nobody).toMatchObject({ code: 1 });
    expect(nobody.stderr).toContain('no sink of CONSUMER_GROUP nobody');
  });

  it('resolves a time to the first order committed at or after it', async () => {
    const [row] = await carts<{ lsn: string }>(
      'SELECT commit_lsn::text AS lsn FROM applied_orders ORDER BY commit_lsn LIMIT 1',
    );
    const { code, stdout } = await replay('--from-time', '2001-01-01T00:00Z', '--dry-run');
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`range +from ${row!.lsn} to`));
  });
});
