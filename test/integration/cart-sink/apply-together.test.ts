// Several partitions in one transaction: all or nothing, locked in one order, and the fault of one is not the others' (I3, I6).
import { type SQLQuery, sql } from '@databases/pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { applyTogether } from '../../../cart-sink/apply/apply-batch.ts';
import type { Batch } from '../../../cart-sink/apply/batch.ts';
import { createBatchJoiner } from '../../../cart-sink/apply/join-batches.ts';
import { readStored, takeOwnership } from '../../../cart-sink/apply/ownership.ts';
import { createDatabase, type Database } from '../../../service/database.ts';
import { setFailpointHandler } from '../../../service/failpoint.ts';
import { serverOf } from '../../../service/postgres/database-server.ts';
import { createEvent, createPositions } from '../../support/examples/sink-events.ts';
import {
  applyBatch,
  type CartDatabase,
  createCartDatabase,
  silent,
  TEST_GROUP,
} from '../../support/postgres/cart-database.ts';
import { waitFor } from '../../support/wait.ts';

let carts: CartDatabase;
let nextPosition: ReturnType<typeof createPositions>;
const partitions = [0, 1, 2, 3, 4, 5];
const { signal } = new AbortController();

beforeAll(async () => {
  carts = await createCartDatabase('apply_together');
});
afterAll(() => carts.cleanUp());
beforeEach(async () => {
  nextPosition = createPositions();
  await carts.query('TRUNCATE cart_lines, consumer_offsets, applied_orders, cart_removals, parked_events');
});
afterEach(() => setFailpointHandler(undefined));

const order = (userId: string, changes: object = {}) =>
  createEvent({
    ...nextPosition(),
    userId,
    items: [{ lineNo: 1, sku: 'tea', quantity: 1, unitPriceCents: 1n, cartLineId: null }],
    ...changes,
  });

/** Six partitions, each with a cart line of its user, and a batch of one order for each. */
async function createSix(event = (partition: number) => order(`user${partition}`)) {
  const owned = await Promise.all(partitions.map((partition) => carts.own('live', partition)));
  for (const partition of partitions) await carts.addLine(`user${partition}`, 'tea', 5);
  return { owned, batches: owned.map((one, partition) => one.batch([event(partition)])) };
}

const applied = async () => {
  const rows = await carts.query<{ user_id: string }>('SELECT user_id FROM applied_orders ORDER BY user_id');
  return rows.map(({ user_id }) => Number(user_id.replace('user', '')));
};
const offsets = async () => {
  const rows = await carts.query<{ next_offset: string }>(
    'SELECT next_offset FROM consumer_offsets ORDER BY partition',
  );
  return rows.map(({ next_offset }) => Number(next_offset));
};

/** Holds what `statement` locks until the returned function is called. */
async function hold(statement: SQLQuery): Promise<() => Promise<void>> {
  const locked = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const holding = carts.database.pool.tx(async (tx) => {
    await tx.query(statement);
    locked.resolve();
    await released.promise;
  });
  await Promise.race([locked.promise, holding]);
  return () => {
    released.resolve();
    return holding;
  };
}

const isAnyoneWaiting = async () => {
  const waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
  return (await carts.query(waiting)).length > 0;
};

function createJoiner(database: Database = carts.database) {
  const stored = (partition: { topic: string; partition: number }) =>
    readStored(carts.database.pool, TEST_GROUP, partition);
  return createBatchJoiner({
    io: {
      applyTogether: (batches) => applyTogether(database, batches),
      readStored: stored,
    },
    report: { onRetry: () => undefined, onRecovered: () => undefined },
    limits: { maxRecords: 100, maxBytes: 1_000_000 },
    concurrency: 1,
  });
}

describe('a transaction of six partitions', () => {
  it('moves every offset and takes every order, in whatever order the batches come', async () => {
    const { batches, owned } = await createSix();
    const result = await applyTogether(carts.database, batches.toReversed());
    expect(result).toMatchObject({ kind: 'applied', counts: partitions.map(() => ({ orders: 1, duplicates: 0 })) });
    expect(await applied()).toEqual(partitions);
    expect(await offsets()).toEqual([1, 1, 1, 1, 1, 1]);
    expect(await carts.readLines()).toEqual(partitions.map((partition) => `user${partition} tea 4`));
    // Positions are kept for each partition: the next batches continue them.
    const next = owned.map((one, partition) => one.batch([order(`user${partition}`)]));
    expect(await applyTogether(carts.database, next)).toMatchObject({ kind: 'applied' });
  });

  it('counts duplicates, parked records and orders for the partition that they are of', async () => {
    const { owned, batches } = await createSix();
    await applyBatch(carts.database, batches[2]!);
    const again = batches[2]!.entries.map((entry) => (entry.kind === 'order' ? entry.event : undefined)!);
    const garbage = { kind: 'unreadable', key: null, value: null, reason: 'no value' } as const;
    const next = [owned[2]!.batch(again), batches[4]!, owned[5]!.batch([garbage])];
    next[2] = { ...next[2]!, expectedOffset: 0n, nextOffset: 1n };
    const result = await applyTogether(carts.database, next);
    expect(result).toMatchObject({
      counts: [
        { orders: 0, duplicates: 1, parked: 0 },
        { orders: 1, duplicates: 0, parked: 0 },
        { orders: 0, duplicates: 0, parked: 1 },
      ],
    });
    expect(await carts.query('SELECT partition FROM parked_events')).toEqual([{ partition: 5 }]);
  });

  it('locks the offsets by partition before it moves one', async () => {
    const { batches } = await createSix();
    const release = await hold(sql`SELECT 1 FROM consumer_offsets WHERE partition = 2 FOR UPDATE`);
    const applying = applyTogether(carts.database, batches);
    await waitFor('the transaction to wait', isAnyoneWaiting);
    const isFree = async (partition: number) =>
      (await carts.query(`SELECT 1 FROM consumer_offsets WHERE partition = ${partition} FOR UPDATE SKIP LOCKED`))
        .length;
    expect([await isFree(1), await isFree(3)]).toEqual([0, 1]);
    await release();
    expect(await applying).toMatchObject({ kind: 'applied' });
  });

  it('changes nothing when one of them was taken over in the middle, and names it; the rest is applied then', async () => {
    const { batches } = await createSix();
    await takeOwnership(carts.database.pool, TEST_GROUP, [{ topic: 'live', partition: 3 }]);
    const result = await applyTogether(carts.database, batches);
    expect(result).toEqual({ kind: 'fenced', lost: [batches[3]] });
    expect(await applied()).toEqual([]);
    expect(await offsets()).toEqual([0, 0, 0, 0, 0, 0]);
    const apply = createJoiner();
    const kinds = await Promise.all(batches.map(async (batch) => (await apply(batch, signal)).kind));
    expect(kinds).toEqual(partitions.map((partition) => (partition === 3 ? 'stale-owner' : 'applied')));
    expect(await applied()).toEqual([0, 1, 2, 4, 5]);
  });

  it('makes a takeover of one wait for its end, which then finds everything applied', async () => {
    const { batches } = await createSix();
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    setFailpointHandler((name) => {
      if (name !== 'sink.before-commit') return;
      reached.resolve();
      return released.promise;
    });
    const applying = applyTogether(carts.database, batches);
    await reached.promise;
    const taking = takeOwnership(carts.database.pool, TEST_GROUP, [{ topic: 'live', partition: 3 }]);
    await waitFor('the takeover to wait', isAnyoneWaiting);
    released.resolve();
    expect(await applying).toMatchObject({ kind: 'applied' });
    expect(await taking).toMatchObject([{ partition: 3, nextOffset: 1n }]);
  });
});

describe('of six partitions that share their transactions', () => {
  it('only the one with a poisonous record halts', async () => {
    // A quantity that no column takes: no check has refused it.
    const poison = (partition: number) => order(`user${partition}`, partition === 2 ? { source: 'nul \0 byte' } : {});
    const { batches } = await createSix(poison);
    const apply = createJoiner();
    const results = await Promise.allSettled(batches.map((batch) => apply(batch, signal)));
    expect(results.map((result) => (result.status === 'rejected' ? result.reason.code : result.value.kind))).toEqual(
      partitions.map((partition) => (partition === 2 ? 'SINK_DEFECT' : 'applied')),
    );
    expect(await applied()).toEqual([0, 1, 3, 4, 5]);
  });

  it('only the one with another history halts', async () => {
    const { owned, batches } = await createSix();
    const apply = createJoiner();
    await Promise.all(batches.map((batch) => apply(batch, signal)));
    const next = owned.map((one, partition) =>
      one.batch([order(`user${partition}`, partition === 4 ? { generation: 9 } : {})]),
    );
    const results = await Promise.allSettled(next.map((batch) => apply(batch, signal)));
    expect(results.map((result) => (result.status === 'rejected' ? result.reason.code : result.value.kind))).toEqual(
      partitions.map((partition) => (partition === 4 ? 'GENERATION_CHANGED' : 'applied')),
    );
  });

  it('only the one whose cart line a user has locked waits, and is together with the others again afterwards', async () => {
    const { owned, batches } = await createSix();
    const release = await hold(sql`SELECT 1 FROM cart_lines WHERE user_id = 'user1' FOR UPDATE`);
    const impatient = createDatabase({
      postgres: serverOf(carts.url),
      applicationName: 'test',
      poolSize: 3,
      statementTimeoutMs: 10_000,
      lockTimeoutMs: 300,
      idleInTransactionTimeoutMs: 10_000,
      connectTimeoutMs: 3_000,
      acquireTimeoutMs: 3_000,
      logger: silent,
    });
    const apply = createJoiner(impatient);
    const applying = batches.map((batch) => apply(batch, signal));
    const others = partitions.filter((partition) => partition !== 1);
    const kinds = await Promise.all(others.map(async (partition) => (await applying[partition]!).kind));
    expect(kinds).toEqual(others.map(() => 'applied'));
    const again = others.map((partition) => owned[partition]!.batch([order(`user${partition}`)]));
    const beganMs = performance.now();
    await Promise.all(again.map((batch: Batch) => apply(batch, signal)));
    expect(performance.now() - beganMs).toBeLessThan(1_000);
    expect(await offsets()).toEqual([2, 0, 2, 2, 2, 2]);
    await release();
    expect(await applying[1]).toMatchObject({ kind: 'applied' });
    await impatient.close();
  });
});
