import { sql } from '@databases/pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readStored, takeOwnership } from '../../../cart-sink/apply/ownership.ts';
import { CommitOutcomeUnknownError, GenerationChangedError, PositionWentBackError } from '../../../cart-sink/errors.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import { insertAppliedOrders } from '../../../cart-sink/sql/applied-orders.ts';
import { toLsn } from '../../../schemas/lsn.ts';
import type { OrderPlaced } from '../../../schemas/order-placed.ts';
import { setFailpointHandler } from '../../../service/failpoint.ts';
import { createEvent, createPositions } from '../../support/examples/sink-events.ts';
import { createTcpProxy } from '../../support/network/tcp-proxy.ts';
import { applyBatch, type CartDatabase, createCartDatabase, TEST_GROUP } from '../../support/postgres/cart-database.ts';
import { waitFor } from '../../support/wait.ts';

let carts: CartDatabase;
let nextPosition: ReturnType<typeof createPositions>;

beforeAll(async () => {
  carts = await createCartDatabase('apply_batch');
});
afterAll(() => carts.cleanUp());
beforeEach(async () => {
  nextPosition = createPositions();
  await carts.query('TRUNCATE cart_lines, consumer_offsets, applied_orders, cart_removals, parked_events');
});
afterEach(() => setFailpointHandler(undefined));

type Item = readonly [sku: string, quantity: number, cartLineId?: string];

function order(userId: string, items: readonly Item[], changes: Partial<OrderPlaced> = {}): OrderPlaced {
  return createEvent({
    ...nextPosition(),
    userId,
    items: items.map(([sku, quantity, cartLineId = null], index) => ({
      lineNo: index + 1,
      sku,
      quantity,
      unitPriceCents: 100n,
      cartLineId,
    })),
    ...changes,
  });
}

const apply = (batch: Parameters<typeof applyBatch>[1]) => applyBatch(carts.database, batch);

/** Everything that a batch may change, as text, but for who owns the partitions. */
async function readState(): Promise<string> {
  const [row] = await carts.query<{ state: string }>(`SELECT concat(
    (SELECT jsonb_agg(l ORDER BY l.line_id) FROM cart_lines l), (SELECT jsonb_agg(a ORDER BY a.order_id) FROM applied_orders a),
    (SELECT jsonb_agg(r ORDER BY r.order_id, r.line_no) FROM cart_removals r), (SELECT jsonb_agg(p ORDER BY p."offset") FROM parked_events p),
    (SELECT jsonb_agg(to_jsonb(o) - 'owner_epoch' - 'updated_at' ORDER BY o.topic, o.partition) FROM consumer_offsets o)) AS state`);
  return row!.state;
}

/** Stops the process's own batches at a failpoint; `reached` resolves there, `release` lets them go on. */
function pauseAt(name: string): { reached: Promise<void>; release: () => void } {
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  setFailpointHandler((hit) => {
    if (hit !== name) return;
    reached.resolve();
    return released.promise;
  });
  return { reached: reached.promise, release: released.resolve };
}

describe('a batch', () => {
  it('shrinks the cart and records orders, removals, offset and position together', async () => {
    const tea = await carts.addLine('ada', 'tea', 5);
    const milk = await carts.addLine('ada', 'milk', 2);
    await carts.addLine('bob', 'tea', 9);
    const live = await carts.own('live');
    const placed = order('ada', [
      ['tea', 3],
      ['milk', 4],
      ['eggs', 1],
    ]);

    expect(await apply(live.batch([placed]))).toEqual({
      kind: 'applied',
      orders: 1,
      duplicates: 0,
      changed: 0,
      parked: 0,
    });

    expect(await carts.readLines()).toEqual(['ada tea 2', 'bob tea 9']);
    expect(
      await carts.query(
        `SELECT line_no, line_id, sku, ordered, removed, outcome,
                line_created_xid = (SELECT created_xid FROM cart_lines WHERE line_id = $1) AS aged
         FROM cart_removals ORDER BY 1`,
        [tea],
      ),
    ).toEqual([
      { line_no: 1, line_id: tea, sku: 'tea', ordered: 3, removed: 3, outcome: 'removed', aged: true },
      { line_no: 2, line_id: milk, sku: 'milk', ordered: 4, removed: 2, outcome: 'partial', aged: false },
      { line_no: 3, line_id: null, sku: 'eggs', ordered: 1, removed: 0, outcome: 'absent', aged: null },
    ]);
    expect(
      await carts.query(
        'SELECT order_id, user_id, source, timeline, commit_lsn, ordinal, rule_version FROM applied_orders',
      ),
    ).toEqual([
      {
        order_id: placed.orderId,
        user_id: 'ada',
        source: 'cart',
        timeline: 1,
        commit_lsn: '0/1100',
        ordinal: 0,
        rule_version: RULE_VERSION,
      },
    ]);
    expect(
      await carts.query(
        'SELECT next_offset, last_timeline, last_commit_lsn, last_ordinal, generation FROM consumer_offsets',
      ),
    ).toEqual([{ next_offset: '1', last_timeline: 1, last_commit_lsn: '0/1100', last_ordinal: 0, generation: 1 }]);
  });

  it('lets several orders reduce one line, each seeing what the ones before it left', async () => {
    await carts.addLine('ada', 'tea', 5);
    const live = await carts.own('live');
    const batch = live.batch([order('ada', [['tea', 2]]), order('ada', [['tea', 2]]), order('ada', [['tea', 2]])]);
    expect(await apply(batch)).toMatchObject({ orders: 3 });
    const removed = await carts.query(
      'SELECT removed FROM cart_removals JOIN applied_orders USING (order_id) ORDER BY commit_lsn',
    );
    expect(removed).toEqual([{ removed: 2 }, { removed: 2 }, { removed: 1 }]);
    expect(await carts.readLines()).toEqual([]);
  });

  it('applies 2,000 orders of three items at once', async () => {
    await carts.query(`INSERT INTO cart_lines (line_id, user_id, sku, quantity)
      SELECT gen_random_uuid(), 'user-' || u, sku, 5 FROM generate_series(1, 2000) u, unnest(ARRAY['a', 'b', 'null']) sku`);
    const live = await carts.own('live');
    const orders = Array.from({ length: 2000 }, (_, index) =>
      order(`user-${index + 1}`, [
        ['a', 5],
        ['b', 2],
        ['null', 5],
      ]),
    );
    expect(await apply(live.batch(orders))).toMatchObject({ orders: 2000 });
    expect(await carts.query('SELECT DISTINCT sku, quantity FROM cart_lines')).toEqual([{ sku: 'b', quantity: 3 }]);
    expect(await carts.query('SELECT count(*), sum(removed) FROM cart_removals')).toEqual([
      { count: '6000', sum: '24000' },
    ]);
  });

  it('reduces only the line that an item names, and tells one that is gone from one that is not its own', async () => {
    const named = await carts.addLine('ada', 'tea', 5);
    const bobs = await carts.addLine('bob', 'milk', 5);
    await carts.addLine('ada', 'milk', 5);
    await carts.addLine('ada', 'eggs', 5);
    const gone = '01a20000-0000-7000-8000-000000000009';
    const live = await carts.own('live');
    const placed = order('ada', [
      ['tea', 1, named],
      ['milk', 1, bobs],
      ['eggs', 1, gone],
      ['milk', 1, named],
    ]);
    expect(await apply(live.batch([placed]))).toMatchObject({ orders: 1 });
    expect(await carts.readLines()).toEqual(['ada eggs 5', 'ada milk 5', 'ada tea 4', 'bob milk 5']);
    const outcomes = await carts.query<{ outcome: string }>('SELECT outcome FROM cart_removals ORDER BY line_no');
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['removed', 'mismatch', 'absent', 'mismatch']);
  });

  it('leaves the cart of a direct order alone, and keeps the order in the ledger', async () => {
    await carts.addLine('ada', 'tea', 5);
    const live = await carts.own('live');
    expect(await apply(live.batch([order('ada', [['tea', 1]], { source: 'direct' })]))).toMatchObject({ orders: 1 });
    expect(await carts.readLines()).toEqual(['ada tea 5']);
    expect(
      await carts.query('SELECT source, outcome, removed FROM applied_orders JOIN cart_removals USING (order_id)'),
    ).toEqual([{ source: 'direct', outcome: 'direct', removed: 0 }]);
  });

  it('parks what can never be applied, with its bytes, and goes on with the rest', async () => {
    await carts.addLine('ada', 'tea', 5);
    const live = await carts.own('live', 3);
    const bytes = Buffer.from([0, 1, 0x5c, 0x22, 0xff]);
    const batch = live.batch([
      { kind: 'unreadable', key: Buffer.from('k'), value: bytes, reason: 'no Avro, "quoted" \\' },
      order('ada', [['tea', 1]]),
      { kind: 'unreadable', key: null, value: null, reason: 'the record has no value' },
    ]);
    expect(await apply(batch)).toMatchObject({ orders: 1, parked: 2 });
    expect(
      await carts.query('SELECT topic, partition, "offset", key, value, reason FROM parked_events ORDER BY "offset"'),
    ).toEqual([
      { topic: 'live', partition: 3, offset: '0', key: Buffer.from('k'), value: bytes, reason: 'no Avro, "quoted" \\' },
      { topic: 'live', partition: 3, offset: '2', key: null, value: null, reason: 'the record has no value' },
    ]);
    expect(await carts.readLines()).toEqual(['ada tea 4']);
  });

  it('without a record moves the offset over control and aborted ones, and keeps the position', async () => {
    const live = await carts.own('live');
    await apply(live.batch([order('ada', [['tea', 1]])]));
    const empty = live.batch([]);
    await apply({ ...empty, nextOffset: empty.expectedOffset + 7n });
    expect(await carts.query('SELECT next_offset, last_commit_lsn, generation FROM consumer_offsets')).toEqual([
      { next_offset: '8', last_commit_lsn: '0/1100', generation: 1 },
    ]);
  });
});

describe('an effect happens once', () => {
  it('when the same batch is applied again: the offset has moved on', async () => {
    await carts.addLine('ada', 'tea', 5);
    const batch = (await carts.own('live')).batch([order('ada', [['tea', 1]])]);
    await apply(batch);
    const state = await readState();
    expect(await apply(batch)).toEqual({ kind: 'stale-owner' });
    expect(await readState()).toBe(state);
  });

  it('when an order comes again at another offset, in another topic, or twice in a batch: the ledger has it', async () => {
    await carts.addLine('ada', 'tea', 9);
    const [live, replay] = [await carts.own('live'), await carts.own('replay')];
    const [first, second] = [order('ada', [['tea', 1]]), order('ada', [['tea', 2]])];
    expect(await apply(live.batch([first, second, second]))).toMatchObject({ orders: 2, duplicates: 1 });
    expect(await apply(live.batch([first]))).toMatchObject({ orders: 0, duplicates: 1 });
    expect(await apply(replay.batch([second, first]))).toMatchObject({ orders: 0, duplicates: 2 });
    expect(await carts.readLines()).toEqual(['ada tea 6']);
    expect(await carts.query('SELECT count(*) FROM cart_removals')).toEqual([{ count: '2' }]);
    expect(await carts.query("SELECT last_commit_lsn FROM consumer_offsets WHERE topic = 'live'")).toEqual([
      { last_commit_lsn: '0/1200' },
    ]);
  });

  it('when two topics bring the same orders at the same moment: one waits for the other', async () => {
    await carts.addLine('ada', 'tea', 9);
    const [live, replay] = [await carts.own('live'), await carts.own('replay')];
    const orders = [order('ada', [['tea', 1]]), order('ada', [['tea', 2]])];
    const pause = pauseAt('sink.before-commit');
    const one = apply(live.batch(orders));
    await pause.reached;
    const other = apply(replay.batch(orders.toReversed()));
    await waitUntilBlocked();
    pause.release();
    expect([await one, await other]).toMatchObject([{ orders: 2 }, { orders: 0, duplicates: 2 }]);
    expect(await carts.readLines()).toEqual(['ada tea 6']);
  });
});

describe('an owner that was replaced', () => {
  it('changes nothing', async () => {
    await carts.addLine('ada', 'tea', 5);
    const stale = await carts.own('live');
    await carts.own('live');
    const state = await readState();
    expect(await apply(stale.batch([order('ada', [['tea', 1]])]))).toEqual({ kind: 'stale-owner' });
    expect(await readState()).toBe(state);
  });

  it('is waited for while its batch is in flight, so that its successor starts after it', async () => {
    await carts.addLine('ada', 'tea', 5);
    const pause = pauseAt('sink.before-commit');
    const inFlight = apply((await carts.own('live')).batch([order('ada', [['tea', 1]])]));
    await pause.reached;
    const successor = takeOwnership(carts.database.pool, TEST_GROUP, [{ topic: 'live', partition: 0 }]);
    await waitUntilBlocked();
    pause.release();
    expect(await inFlight).toMatchObject({ kind: 'applied' });
    expect(await successor).toMatchObject([{ nextOffset: 1n }]);
  });

  it('finds out when its successor came first, although its statement had begun before', async () => {
    await carts.addLine('ada', 'tea', 5);
    const stale = await carts.own('live');
    await carts.query('BEGIN');
    await carts.query('UPDATE consumer_offsets SET owner_epoch = owner_epoch + 1');
    const late = apply(stale.batch([order('ada', [['tea', 1]])]));
    await waitUntilBlocked();
    await carts.query('COMMIT');
    expect(await late).toEqual({ kind: 'stale-owner' });
    expect(await carts.readLines()).toEqual(['ada tea 5']);
  });
});

describe('two batches never wait for each other in a circle, because a batch', () => {
  const numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const id = (number: number) => `01a20000-0000-7000-8000-00000000000${number}`;

  it('locks cart lines by line id, whatever the order of its items', async () => {
    await carts.query(
      `INSERT INTO cart_lines (line_id, user_id, sku, quantity)
       SELECT id, 'ada', 'sku-' || right(id::text, 1), 5 FROM unnest($1::uuid[]) id`,
      [numbers.map(id)],
    );
    const shuffled = [7, 2, 9, 5, 1, 8, 3, 6, 4].map((number): Item => [`sku-${number}`, 1]);
    const batch = (await carts.own('live')).batch([order('ada', shuffled)]);
    await carts.query('BEGIN');
    await carts.query('SELECT 1 FROM cart_lines WHERE line_id = $1 FOR UPDATE', [id(5)]);
    const applying = apply(batch);
    await waitUntilBlocked();
    const free = await carts.database.pool.query(sql`SELECT line_id FROM cart_lines FOR UPDATE SKIP LOCKED`);
    await carts.query('COMMIT');
    expect(free.map(({ line_id }) => line_id).toSorted()).toEqual([6, 7, 8, 9].map(id));
    expect(await applying).toMatchObject({ orders: 1 });
  });

  it('enters orders into the ledger by order id, whatever their order in Kafka', async () => {
    const enter = (number: number) =>
      insertAppliedOrders(RULE_VERSION, [order('ada', [['tea', 1]], { orderId: id(number) })]);
    const orders = [7, 2, 9, 5, 1, 8, 3, 6, 4].map((number) => order('ada', [['tea', 1]], { orderId: id(number) }));
    const batch = (await carts.own('live')).batch(orders);
    const released = Promise.withResolvers<void>();
    const entered = Promise.withResolvers<void>();
    const other = carts.database.pool.tx(async (tx) => {
      await tx.query(enter(5));
      entered.resolve();
      await released.promise;
    });
    await entered.promise;
    const applying = apply(batch);
    await waitUntilBlocked();
    const blocked: number[] = [];
    for (const number of numbers.filter((one) => one !== 5)) {
      const attempt = carts.database.pool.tx(
        async (tx) => {
          await tx.query(enter(number));
          throw new Error('not blocked');
        },
        { lockTimeoutMilliseconds: 100 },
      );
      const code = await attempt.catch((error: { code?: string }) => error.code);
      if (code === '55P03') blocked.push(number);
    }
    released.resolve();
    await other;
    expect(blocked).toEqual([1, 2, 3, 4]);
    expect(await applying).toMatchObject({ orders: 8, duplicates: 1 });
  });
});

describe('continuity of the live topic', () => {
  it('halts at an order before the furthest position that was never applied, and changes nothing', async () => {
    const live = await carts.own('live');
    const [early, late] = [order('ada', [['tea', 1]]), order('ada', [['tea', 1]])];
    await apply(live.batch([late]));
    const state = await readState();
    const next = live.batch([early]);
    await expect(apply(next)).rejects.toThrow(PositionWentBackError);
    await expect(apply(next)).rejects.toMatchObject({
      code: 'POSITION_WENT_BACK',
      details: { topic: 'live', partition: '0', appliedPosition: '1:0/1200:0', foundPosition: '1:0/1100:0' },
    });
    expect(await readState()).toBe(state);
  });

  it('goes on after that when an operator has cleared the position', async () => {
    const live = await carts.own('live');
    const [early, late] = [order('ada', [['tea', 1]]), order('ada', [['tea', 1]])];
    await apply(live.batch([late]));
    const next = live.batch([early]);
    await expect(apply(next)).rejects.toThrow(PositionWentBackError);
    await carts.query('UPDATE consumer_offsets SET last_timeline = NULL, last_commit_lsn = NULL, last_ordinal = NULL');
    expect(await apply(next)).toMatchObject({ orders: 1 });
  });

  it('is not asked of the replay topic', async () => {
    const replay = await carts.own('replay');
    const [early, late] = [order('ada', [['tea', 1]]), order('ada', [['tea', 1]])];
    expect(await apply(replay.batch([late, early]))).toMatchObject({ orders: 2 });
    expect(await carts.query('SELECT last_commit_lsn, generation FROM consumer_offsets')).toEqual([
      { last_commit_lsn: null, generation: null },
    ]);
  });

  it('halts at another generation until it was announced', async () => {
    const live = await carts.own('live');
    await apply(live.batch([order('ada', [['tea', 1]])]));
    const next = live.batch([order('ada', [['tea', 1]], { generation: 2, commitLsn: toLsn(1n) })]);
    await expect(apply(next)).rejects.toThrow(GenerationChangedError);
    await carts.query(`UPDATE consumer_offsets SET generation = 2, last_timeline = NULL, last_commit_lsn = NULL,
      last_ordinal = NULL`);
    expect(await apply(next)).toMatchObject({ orders: 1 });
  });
});

describe('a batch that fails', () => {
  it.each(['sink.mid-transaction', 'sink.before-commit'])(
    'at %s leaves nothing behind, and applies afterwards',
    async (name) => {
      await carts.addLine('ada', 'tea', 5);
      const batch = (await carts.own('live')).batch([
        order('ada', [['tea', 1]]),
        { kind: 'unreadable', key: null, value: null, reason: 'no value' },
      ]);
      const state = await readState();
      setFailpointHandler((hit) => {
        if (hit === name) throw new Error('failed on purpose');
      });
      await expect(apply(batch)).rejects.toThrow('failed on purpose');
      expect(await readState()).toBe(state);
      setFailpointHandler(undefined);
      expect(await apply(batch)).toMatchObject({ kind: 'applied', orders: 1, parked: 1 });
    },
  );

  it('with the statement that the database refused rolls back what came before it', async () => {
    await carts.addLine('ada', 'tea', 5);
    const batch = (await carts.own('live')).batch([order('ada', [['tea', 1]])]);
    const state = await readState();
    await carts.query('ALTER TABLE cart_removals ADD CONSTRAINT refuses CHECK (removed = 0)');
    try {
      await expect(apply(batch)).rejects.toMatchObject({ code: '23514' });
      expect(await readState()).toBe(state);
    } finally {
      await carts.query('ALTER TABLE cart_removals DROP CONSTRAINT refuses');
    }
  });
});

describe('a COMMIT without an answer', () => {
  it.each([
    ['that never arrived', 'client', 0n],
    ['that happened', 'server', 1n],
  ] as const)('%s is reported as unknown, and the settled offset tells', async (_what, side, settled) => {
    await carts.addLine('ada', 'tea', 5);
    const batch = (await carts.own('live')).batch([order('ada', [['tea', 1]])]);
    const proxy = await createTcpProxy({ targetPort: Number(new URL(carts.url).port) });
    try {
      const url = new URL(carts.url);
      url.port = String(proxy.port);
      const database = carts.connect(url.href);
      await database.ping();
      let committing = false;
      proxy.onClientData((data) => {
        // With the NUL that ends the statement: BEGIN names READ COMMITTED.
        committing ||= data.includes('COMMIT\0');
        return committing && side === 'client' ? 'cut' : data;
      });
      proxy.onServerData((data) => (committing && side === 'server' ? 'cut' : data));

      await expect(applyBatch(database, batch)).rejects.toThrow(CommitOutcomeUnknownError);

      expect(await readStored(carts.database.pool, TEST_GROUP, batch)).toMatchObject({ nextOffset: settled });
      expect(await carts.readLines()).toEqual([settled === 1n ? 'ada tea 4' : 'ada tea 5']);
      const again = await apply(batch);
      expect(again.kind).toBe(settled === 1n ? 'stale-owner' : 'applied');
      expect(await carts.readLines()).toEqual(['ada tea 4']);
    } finally {
      proxy.close();
    }
  });
});

/** Resolves when a statement of this database waits for a lock. */
async function waitUntilBlocked(): Promise<void> {
  await waitFor('a statement to wait for a lock', async () => {
    const blocked = await carts.query(
      "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    return blocked.length > 0;
  });
}
