// Replays against a real carts database: what a reapply writes, that it takes its locks, and what it does when carts
// change meanwhile; the sums of a run; and the dry run's preview, which must tell what then happens.
import { IsolationLevel, sql } from '@databases/pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { addTallies } from '#schemas/replay/records.ts';
import { createReplayPreview, readUnknownOrders } from '../../../cart-sink/apply/preview-replay.ts';
import { CURRENT_RULE, type Rule, reduceCart } from '../../../cart-sink/rule/reduce-cart.ts';
import { isVisible } from '../../../cart-sink/rule/snapshot-visibility.ts';
import { addCartLine } from '../../../cart-sink/sql/cart-lines.ts';
import type { OrderPlaced } from '../../../schemas/order-placed.ts';
import { setFailpointHandler } from '../../../service/failpoint.ts';
import { createEvent, createPositions, createStamp, tallyEvents } from '../../support/examples/sink-events.ts';
import {
  applyBatch,
  type CartDatabase,
  createCartDatabase,
  type OwnedPartition,
  TEST_GROUP,
} from '../../support/postgres/cart-database.ts';
import { waitFor } from '../../support/wait.ts';

let carts: CartDatabase;
let nextPosition: ReturnType<typeof createPositions>;
let [live, replay]: OwnedPartition[] = [];

beforeAll(async () => {
  carts = await createCartDatabase('apply_reapply');
});
afterAll(() => carts.cleanUp());
beforeEach(async () => {
  nextPosition = createPositions();
  await carts.query(
    'TRUNCATE cart_lines, consumer_offsets, applied_orders, cart_removals, parked_events, replay_runs, replay_results',
  );
  [live, replay] = [await carts.own('live'), await carts.own('replay')];
});
afterEach(() => setFailpointHandler(undefined));

/** Takes double: what was deployed by mistake before the right rule. */
const double: Rule = {
  version: 0,
  reduce: (lines, order) => {
    const items = order.items.map((item) => ({ ...item, quantity: item.quantity * 2 }));
    return reduceCart(lines, { ...order, items });
  },
};
const nothing: Rule = { version: 0, reduce: (lines, order) => reduceCart(lines, { ...order, source: 'direct' }) };

function order(quantity: number, changes: Partial<OrderPlaced> = {}): OrderPlaced {
  const items = [{ lineNo: 1, sku: 'tea', quantity, unitPriceCents: 100n, cartLineId: null }];
  return createEvent({ ...nextPosition(), userId: 'ada', items, ...changes });
}

const reapplyRun = () => createStamp({ mode: 'reapply' });
const apply = (batch: Parameters<typeof applyBatch>[1], rule: Rule = CURRENT_RULE) =>
  applyBatch(carts.database, batch, rule);
const reapply = (orders: readonly OrderPlaced[], rule: Rule = CURRENT_RULE) =>
  apply(replay!.batch(orders, reapplyRun()), rule);

const readEntries = async (): Promise<string[]> => {
  const rows = await carts.query<{ entry: string }>(
    `SELECT concat_ws(' ', commit_lsn, line_no, entry, removed, outcome) AS entry
     FROM cart_removals JOIN applied_orders USING (order_id) ORDER BY commit_lsn, line_no, entry`,
  );
  return rows.map(({ entry }) => entry);
};

/** Carts, ledger and removals as text: what a replay under an unchanged rule leaves alone. */
async function readState(): Promise<string> {
  const [row] = await carts.query<{ state: string }>(`SELECT concat(
    (SELECT jsonb_agg(l ORDER BY l.line_id) FROM cart_lines l), (SELECT jsonb_agg(a ORDER BY a.order_id) FROM applied_orders a),
    (SELECT jsonb_agg(r ORDER BY r.order_id, r.line_no, r.entry) FROM cart_removals r)) AS state`);
  return row!.state;
}

const lineOf = async (sku: string) => {
  const [line] = await carts.query<{ line_id: string; quantity: number; created_xid: string }>(
    'SELECT line_id, quantity, created_xid FROM cart_lines WHERE sku = $1',
    [sku],
  );
  return line;
};

const waitUntilBlocked = () =>
  waitFor('a statement to wait for a lock', async () => {
    const blocked = await carts.query(
      "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    return blocked.length > 0;
  });

function pauseAt(name: string): { reached: Promise<void>; release: () => void } {
  const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  setFailpointHandler((hit) => {
    if (hit !== name) return;
    setFailpointHandler(undefined);
    reached.resolve();
    return released.promise;
  });
  return { reached: reached.promise, release: released.resolve };
}

describe('a reapply under an unchanged rule', () => {
  it('leaves carts, ledger and removals as they are, after every kind of edit', async () => {
    await carts.addLine('ada', 'tea', 5);
    await carts.addLine('ada', 'milk', 3);
    const eggs = await carts.addLine('ada', 'eggs', 3);
    const item = (lineNo: number, sku: string, quantity: number, cartLineId: string | null = null) => ({
      lineNo,
      sku,
      quantity,
      unitPriceCents: 1n,
      cartLineId,
    });
    const orders = [
      order(2),
      order(9, { items: [item(1, 'milk', 2), item(2, 'milk', 2), item(3, 'salt', 1)] }),
      order(1, { items: [item(1, 'eggs', 1, eggs), item(2, 'tea', 1, eggs)] }),
      order(1, { source: 'direct' }),
    ];
    await apply(live!.batch(orders));
    const check = async () => {
      const state = await readState();
      expect(await reapply(orders)).toMatchObject({ orders: 0, duplicates: 4, changed: 0 });
      expect(await reapply(orders.slice(1, 3))).toMatchObject({ duplicates: 2, changed: 0 });
      expect(await readState()).toBe(state);
    };
    await check();
    await carts.addLine('ada', 'milk', 50);
    await carts.query("UPDATE cart_lines SET quantity = 1 WHERE sku = 'tea'");
    await carts.query("DELETE FROM cart_lines WHERE sku = 'eggs'");
    await check();
    await carts.query("UPDATE cart_lines SET quantity = 90 WHERE sku = 'tea'");
    await carts.addLine('ada', 'eggs', 9);
    await carts.addLine('ada', 'salt', 9);
    await check();
  });

  it('applies orders that the ledger lacks, in sequence with the others', async () => {
    await carts.addLine('ada', 'tea', 5);
    const [lost, known] = [order(2), order(1)];
    await apply(live!.batch([known]));
    expect(await reapply([lost, known])).toMatchObject({ orders: 1, duplicates: 1, changed: 0 });
    expect(await carts.readLines()).toEqual(['ada tea 2']);
    const state = await readState();
    expect(await reapply([lost, known, lost])).toMatchObject({ orders: 0, duplicates: 3, changed: 0 });
    expect(await readState()).toBe(state);
  });
});

describe('a reapply under a corrected rule', () => {
  it('gives back to the live line, and records the difference and the rule', async () => {
    const tea = await carts.addLine('ada', 'tea', 9);
    const placed = order(2);
    await apply(live!.batch([placed]), double);
    expect(await carts.readLines()).toEqual(['ada tea 5']);
    expect(await reapply([placed])).toMatchObject({ orders: 0, duplicates: 0, changed: 1 });
    expect(await lineOf('tea')).toMatchObject({ line_id: tea, quantity: 7 });
    expect(await readEntries()).toEqual(['0/1100 1 0 4 removed', '0/1100 1 1 -2 removed']);
    expect(await carts.query('SELECT rule_version FROM applied_orders')).toEqual([
      { rule_version: CURRENT_RULE.version },
    ]);
    expect(await reapply([placed])).toMatchObject({ duplicates: 1, changed: 0 });
    expect(await carts.readLines()).toEqual(['ada tea 7']);
  });

  it('brings a deleted line back with its id and age, so that later orders find it again', async () => {
    await carts.addLine('ada', 'tea', 4);
    const before = await lineOf('tea');
    const orders = [order(2), order(1)];
    for (const one of orders) await apply(live!.batch([one]), double);
    expect(await carts.readLines()).toEqual([]);
    expect(await reapply(orders.slice(0, 1))).toMatchObject({ changed: 1 });
    expect(await lineOf('tea')).toEqual({ ...before, quantity: 2 });
    expect(await reapply(orders.slice(1))).toMatchObject({ changed: 1 });
    expect(await lineOf('tea')).toEqual({ ...before, quantity: 1 });
    expect(await readEntries()).toEqual([
      '0/1100 1 0 4 removed',
      '0/1100 1 1 -2 removed',
      '0/1200 1 0 0 absent',
      '0/1200 1 1 1 removed',
    ]);
  });

  it('does the same within one batch, with each line written once', async () => {
    await carts.addLine('ada', 'tea', 4);
    const before = await lineOf('tea');
    const orders = [order(2), order(1)];
    await apply(live!.batch(orders), double);
    expect(await reapply(orders)).toMatchObject({ changed: 2 });
    expect(await lineOf('tea')).toEqual({ ...before, quantity: 1 });
  });

  it('gives back to the line that the user has now', async () => {
    await carts.addLine('ada', 'tea', 4);
    const placed = order(2);
    await apply(live!.batch([placed]), double);
    const next = await carts.addLine('ada', 'tea', 5);
    await reapply([placed]);
    expect(await lineOf('tea')).toMatchObject({ line_id: next, quantity: 7 });
    expect(await carts.query('SELECT line_id FROM cart_removals WHERE entry = 1')).toEqual([{ line_id: next }]);
  });

  it('of entries from before ages were kept brings the line back old enough for its order', async () => {
    await carts.addLine('ada', 'tea', 4);
    const placed = order(2);
    await apply(live!.batch([placed]), double);
    await carts.query('UPDATE cart_removals SET line_created_xid = NULL');
    await reapply([placed]);
    expect(
      await carts.query(`SELECT quantity, pg_visible_in_snapshot(created_xid, applied_snapshot) AS seen,
        created_xid < pg_snapshot_xmin(applied_snapshot) AS older FROM cart_lines, applied_orders`),
    ).toEqual([{ quantity: 2, seen: true, older: true }]);
  });

  it('takes what should have been taken, from lines that the order could see only', async () => {
    await carts.addLine('ada', 'tea', 5);
    const [first, second] = [order(2), order(1, { userId: 'bob' })];
    await apply(live!.batch([first, second]), nothing);
    await carts.addLine('bob', 'tea', 5);
    expect(await reapply([first, second])).toMatchObject({ changed: 1, duplicates: 1 });
    expect(await carts.readLines()).toEqual(['ada tea 3', 'bob tea 5']);
  });

  it('empties a line, and brings the next order’s back in its place, in one batch', async () => {
    const placed = order(3);
    await carts.addLine('ada', 'tea', 1);
    await apply(live!.batch([placed]), nothing);
    const wrong = order(2);
    await carts.query('UPDATE cart_lines SET quantity = 4');
    await apply(live!.batch([wrong]), double);
    // The line of both is gone. Its successor is younger than both.
    const successor = await carts.addLine('ada', 'tea', 1);
    expect(await reapply([placed, wrong])).toMatchObject({ changed: 1 });
    expect(await lineOf('tea')).toMatchObject({ line_id: successor, quantity: 3 });
  });

  it('rolls everything back with a batch that fails', async () => {
    await carts.addLine('ada', 'tea', 4);
    const placed = order(2);
    await apply(live!.batch([placed]), double);
    const state = await readState();
    setFailpointHandler((hit) => {
      if (hit === 'sink.before-commit') throw new Error('failed on purpose');
    });
    await expect(reapply([placed])).rejects.toThrow('failed on purpose');
    expect(await readState()).toBe(state);
    expect(await carts.query('SELECT FROM replay_results')).toEqual([]);
  });
});

describe('when others are at the same orders and lines,', () => {
  it.each(['live first', 'replay first'])(
    'a live and a replayed copy of an order have one effect: %s',
    async (which) => {
      await carts.addLine('ada', 'tea', 9);
      const orders = [order(1), order(2)];
      const batches = [live!.batch(orders), replay!.batch(orders.toReversed(), reapplyRun())];
      const [first, second] = which === 'live first' ? batches : batches.toReversed();
      const pause = pauseAt('sink.before-commit');
      const one = apply(first!);
      await pause.reached;
      const other = apply(second!);
      await waitUntilBlocked();
      pause.release();
      expect([await one, await other]).toMatchObject([{ orders: 2 }, { orders: 0, duplicates: 2, changed: 0 }]);
      expect(await carts.readLines()).toEqual(['ada tea 6']);
      expect(await readEntries()).toHaveLength(2);
    },
  );

  it('two reapplies of one order follow one another, and the second finds nothing to do', async () => {
    await carts.addLine('ada', 'tea', 4);
    const placed = order(2);
    await apply(live!.batch([placed]), double);
    const elsewhere = await carts.own('replay', 1);
    const pause = pauseAt('sink.mid-transaction');
    const one = reapply([placed]);
    await pause.reached;
    const other = apply(elsewhere.batch([placed], reapplyRun()));
    await waitUntilBlocked();
    pause.release();
    expect([await one, await other]).toMatchObject([{ changed: 1 }, { changed: 0, duplicates: 1 }]);
    expect(await carts.readLines()).toEqual(['ada tea 2']);
  });

  it('goods that come back join the line that the user makes meanwhile, and later orders are seen from there', async () => {
    await carts.addLine('ada', 'tea', 4);
    await carts.addLine('ada', 'milk', 4);
    const item = (lineNo: number, sku: string) => ({ lineNo, sku, quantity: 2, unitPriceCents: 1n, cartLineId: null });
    const wrong = order(2, { items: [item(1, 'tea'), item(2, 'milk')] });
    const after = order(1);
    await apply(live!.batch([wrong]), double);
    await apply(live!.batch([after]), double);
    expect(await carts.readLines()).toEqual([]);
    const pause = pauseAt('sink.mid-transaction');
    const reapplying = reapply([wrong, after]);
    await pause.reached;
    // The sink has seen that there is no line.
    const added = {
      lineId: '01a20000-0000-7000-8000-000000000001',
      userId: 'ada',
      sku: 'tea',
      quantity: 7,
      most: 1_000_000,
      mostLines: 1_000,
    };
    await carts.database.pool.query(addCartLine(added));
    pause.release();
    // `after` could not see the new line, so it takes nothing from it, and nothing comes from the old one.
    expect(await reapplying).toMatchObject({ changed: 1, duplicates: 1 });
    expect(await carts.readLines()).toEqual(['ada milk 2', 'ada tea 9']);
    expect(await lineOf('tea')).toMatchObject({ line_id: added.lineId });
    expect(await carts.query("SELECT removed, line_id FROM cart_removals WHERE entry = 1 AND sku = 'tea'")).toEqual([
      { removed: -2, line_id: added.lineId },
    ]);
    const state = await readState();
    expect(await reapply([wrong, after])).toMatchObject({ changed: 0 });
    expect(await readState()).toBe(state);
  });

  it('a line that came back is gone again when the user’s new line makes the outcome another', async () => {
    await carts.addLine('ada', 'tea', 4);
    await carts.addLine('ada', 'milk', 4);
    const item = (lineNo: number, sku: string) => ({ lineNo, sku, quantity: 2, unitPriceCents: 1n, cartLineId: null });
    const items = [item(1, 'tea'), item(2, 'milk')];
    const wrong = order(2, { items });
    await apply(live!.batch([wrong]), double);
    const choosy = order(2, { items });
    const rule: Rule = {
      version: 7,
      reduce: (lines, one) => {
        const isRich = one !== choosy || lines.some(({ sku, quantity }) => sku === 'tea' && quantity > 5);
        return reduceCart(lines, isRich ? one : { ...one, source: 'direct' });
      },
    };
    const pause = pauseAt('sink.mid-transaction');
    const reapplying = reapply([wrong, choosy], rule);
    await pause.reached;
    const added = {
      lineId: '01a20000-0000-7000-8000-000000000003',
      userId: 'ada',
      sku: 'tea',
      quantity: 7,
      most: 1_000_000,
      mostLines: 1_000,
    };
    await carts.database.pool.query(addCartLine(added));
    pause.release();
    expect(await reapplying).toMatchObject({ orders: 1, changed: 1 });
    expect(await carts.readLines()).toEqual(['ada tea 7']);
  });

  it('a user who adds while a line comes back waits, and joins it', async () => {
    await carts.addLine('ada', 'tea', 4);
    const before = await lineOf('tea');
    const placed = order(2);
    await apply(live!.batch([placed]), double);
    const pause = pauseAt('sink.before-commit');
    const reapplying = reapply([placed]);
    await pause.reached;
    const adding = carts.database.pool.query(
      addCartLine({
        lineId: '01a20000-0000-7000-8000-000000000002',
        userId: 'ada',
        sku: 'tea',
        quantity: 7,
        most: 1_000_000,
        mostLines: 1_000,
      }),
    );
    await waitUntilBlocked();
    pause.release();
    await Promise.all([reapplying, adding]);
    expect(await lineOf('tea')).toEqual({ ...before, quantity: 9 });
  });

  it('an order’s ledger row is locked by order id before its cart lines', async () => {
    const tea = await carts.addLine('ada', 'tea', 9);
    const placed = order(2);
    await apply(live!.batch([placed]));
    await carts.query('BEGIN');
    await carts.query('SELECT FROM applied_orders FOR UPDATE');
    const waiting = reapply([placed]);
    await waitUntilBlocked();
    const free = await carts.query('SELECT line_id FROM cart_lines FOR UPDATE SKIP LOCKED');
    await carts.query('COMMIT');
    expect(free).toEqual([{ line_id: tea }]);
    expect(await waiting).toMatchObject({ duplicates: 1 });
  });
});

describe('the results of a run', () => {
  const readResults = () =>
    carts.query(`SELECT run_id, consumer_group, partition, applied, already, changed, parked, checksum, end_count,
      end_checksum, ended_at IS NOT NULL AS ended FROM replay_results ORDER BY run_id, partition`);

  it('add up over its batches, by partition, and are told apart from another run’s', async () => {
    await carts.addLine('ada', 'tea', 90);
    const run = reapplyRun();
    const orders = [order(1), order(2), order(3), order(4)];
    await apply(live!.batch(orders.slice(0, 1)), double);
    await apply(live!.batch(orders.slice(1, 2)));
    await apply(replay!.batch(orders.slice(0, 2), run));
    await apply(replay!.batch([...orders.slice(2), { kind: 'unreadable', key: null, value: null, reason: 'no' }], run));
    await apply(replay!.batch(orders, createStamp({ mode: 'repair' })));
    const all = tallyEvents(orders);
    await apply(replay!.batch([{ kind: 'replay-end', tally: { count: 5n, checksum: all.checksum } }], run));
    const [mine] = (await readResults()).filter((row) => row.run_id === run.runId);
    expect(mine).toEqual({
      run_id: run.runId,
      consumer_group: TEST_GROUP,
      partition: 0,
      applied: '2',
      already: '1',
      changed: '1',
      parked: '1',
      checksum: String(all.checksum),
      end_count: '5',
      end_checksum: String(all.checksum),
      ended: true,
    });
    expect(await readResults()).toContainEqual(
      expect.objectContaining({ applied: '0', already: '4', changed: '0', end_count: null, ended: false }),
    );
  });

  it('hold checksums modulo 2^64', async () => {
    const run = reapplyRun();
    const most = { count: 1n, checksum: 2n ** 64n - 2n };
    for (let turn = 0; turn < 3; turn += 1) await apply({ ...replay!.batch([order(1)], run), tally: most });
    const sum = addTallies(addTallies(most, most), most).checksum;
    expect(await readResults()).toMatchObject([{ checksum: String(sum), applied: '3' }]);
  });

  it('are not written for the live topic, for progress records alone, nor by an owner that was replaced', async () => {
    await apply(live!.batch([order(1)]));
    await apply(replay!.batch([], reapplyRun()));
    const stale = replay!.batch([order(1)], reapplyRun());
    await carts.own('replay');
    expect(await apply(stale)).toEqual({ kind: 'stale-owner' });
    expect(await readResults()).toEqual([]);
  });
});

describe('the preview', () => {
  const preview = (mode: 'repair' | 'reapply', ...batches: OrderPlaced[][]) =>
    carts.database.pool.tx(
      async (tx) => {
        const { add } = createReplayPreview(tx, mode);
        const answers = [];
        for (const batch of batches) answers.push(...(await add(batch)));
        return answers;
      },
      { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
    );

  it('tells by order what a reapply then does, across its batches, and changes nothing', async () => {
    const tea = await carts.addLine('ada', 'tea', 5);
    const bobs = await carts.addLine('bob', 'tea', 5);
    const wrong = [order(2), order(1)];
    const [lost, later] = [order(1, { userId: 'bob' }), order(9, { userId: 'bob' })];
    for (const one of wrong) await apply(live!.batch([one]), double);
    const state = await readState();
    const told = await preview('reapply', [wrong[0]!], [lost, wrong[1]!], [later, lost]);
    expect(told).toEqual([
      { orderId: wrong[0]!.orderId, userId: 'ada', isNew: false, changes: [{ lineId: tea, sku: 'tea', quantity: 2 }] },
      { orderId: lost.orderId, userId: 'bob', isNew: true, changes: [{ lineId: bobs, sku: 'tea', quantity: -1 }] },
      { orderId: wrong[1]!.orderId, userId: 'ada', isNew: false, changes: [] },
      { orderId: later.orderId, userId: 'bob', isNew: true, changes: [{ lineId: bobs, sku: 'tea', quantity: -4 }] },
      { orderId: lost.orderId, userId: 'bob', isNew: false, changes: [] },
    ]);
    expect(await readState()).toBe(state);
    await reapply([wrong[0]!, lost, wrong[1]!, later, lost]);
    expect(await carts.readLines()).toEqual(['ada tea 2']);
  });

  it('of a repair leaves known orders alone, and knows which the ledger lacks', async () => {
    const tea = await carts.addLine('ada', 'tea', 9);
    const [known, lost] = [order(2), order(1)];
    await apply(live!.batch([known]), double);
    expect(await preview('repair', [known, lost])).toEqual([
      { orderId: known.orderId, userId: 'ada', isNew: false, changes: [] },
      { orderId: lost.orderId, userId: 'ada', isNew: true, changes: [{ lineId: tea, sku: 'tea', quantity: -1 }] },
    ]);
    const ids = [known.orderId, lost.orderId];
    expect(await readUnknownOrders(carts.database.pool, ids)).toEqual(new Set([lost.orderId]));
    expect(await readUnknownOrders(carts.database.pool, [])).toEqual(new Set());
  });
});

it('a snapshot sees in the program what it sees in Postgres', async () => {
  const rows = await carts.query<{ snapshot: string; xid: string; seen: boolean }>(
    `SELECT snapshot::pg_snapshot::text AS snapshot, xid::text AS xid, pg_visible_in_snapshot(xid::text::xid8, snapshot::pg_snapshot) AS seen
     FROM (VALUES ('100:100:'), ('100:105:'), ('100:105:100'), ('100:110:101,103,109'), ('3:9:5'),
                  ('9007199254740993:9007199254740999:9007199254740995')) AS s (snapshot),
          (SELECT generate_series(1, 12) UNION SELECT generate_series(97, 112)
           UNION SELECT generate_series(9007199254740990, 9007199254741002)) AS x (xid)`,
  );
  expect(rows.filter(({ snapshot, xid, seen }) => isVisible(xid, snapshot) !== seen)).toEqual([]);
  expect(new Set(rows.map(({ seen }) => seen)).size).toBe(2);
  // And of a real snapshot, with transactions in flight.
  const open = await Promise.all([1, 2, 3].map(() => carts.connect()));
  await carts.query('SELECT pg_current_xact_id()');
  const released = Promise.withResolvers<void>();
  const inFlight = open.map((database) => {
    const started = Promise.withResolvers<string>();
    const ended = database.pool.tx(async (tx) => {
      const [row] = await tx.query(sql`SELECT pg_current_xact_id()::text AS xid`);
      started.resolve(row.xid);
      await released.promise;
    });
    return { started: started.promise, ended };
  });
  const xids = await Promise.all(inFlight.map(({ started }) => started));
  await carts.query('SELECT pg_current_xact_id()');
  const [now] = await carts.query<{ snapshot: string; before: string }>(
    'SELECT pg_current_snapshot()::text AS snapshot, (pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)::text AS before',
  );
  expect(xids.map((xid) => isVisible(xid, now!.snapshot))).toEqual([false, false, false]);
  expect(isVisible(now!.before, now!.snapshot)).toBe(true);
  released.resolve();
  await Promise.all(inFlight.map(({ ended }) => ended));
});
