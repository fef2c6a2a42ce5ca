// An operator's decisions about records, as transactions: once, under the lock of the partition, and only where it stands.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { discardParkedEvent, parkHaltedRecord, retryParkedOrder } from '../../../cart-sink/apply/decide-parked.ts';
import { recordHalt } from '../../../cart-sink/sql/consumer-offsets.ts';
import { createEvent } from '../../support/examples/sink-events.ts';
import { applyBatch, type CartDatabase, createCartDatabase, TEST_GROUP } from '../../support/postgres/cart-database.ts';
import { waitFor } from '../../support/wait.ts';

let carts: CartDatabase;
beforeAll(async () => {
  carts = await createCartDatabase('decide_parked');
});
afterAll(() => carts.cleanUp());
beforeEach(() =>
  carts.query('TRUNCATE cart_lines, consumer_offsets, applied_orders, cart_removals, parked_events, replay_results'),
);

const place = { topic: 'live', partition: 0 };
const garbage = { kind: 'unreadable', key: null, value: Buffer.from('x'), reason: 'garbage' } as const;

/** Parks a record as a batch does, and returns it as a decision names it. */
async function park() {
  const owned = await carts.own('live');
  await applyBatch(carts.database, owned.batch([garbage]));
  const [row] = await carts.query<{ parked_id: string }>('SELECT parked_id FROM parked_events ORDER BY 1 DESC LIMIT 1');
  return { parkedId: BigInt(row!.parked_id), consumerGroup: TEST_GROUP, place, by: 'ann' };
}
const order = (userId: string) => createEvent({ orderId: randomUUID(), userId });
const readOutcomes = () =>
  carts.query('SELECT outcome, outcome_by, outcome_reason FROM parked_events ORDER BY parked_id');
const readOffset = async () => (await carts.query('SELECT * FROM consumer_offsets'))[0];

describe('retrying', () => {
  it('applies the order once, however often and however many at a time, and moves no offset', async () => {
    const event = await park();
    const placed = order('ann');
    await carts.addLine('ann', placed.items[0]!.sku, 10);
    const before = await readOffset();
    const results = await Promise.all([1, 2, 3].map(() => retryParkedOrder(carts.database.pool, event, placed)));
    expect(results.map(({ kind }) => kind).toSorted()).toEqual(['applied', 'closed', 'closed']);
    expect(await carts.readLines()).toEqual([`ann ${placed.items[0]!.sku} ${10 - placed.items[0]!.quantity}`]);
    expect(await readOutcomes()).toEqual([
      { outcome: 'retried', outcome_by: 'ann', outcome_reason: `applied order ${placed.orderId}` },
    ]);
    expect(await readOffset()).toEqual(before);
  });

  it('changes no cart where the ledger has the order, and is marked all the same', async () => {
    const placed = order('ann');
    await carts.addLine('ann', placed.items[0]!.sku, 10);
    const owned = await carts.own('live');
    await applyBatch(carts.database, owned.batch([placed]));
    const lines = await carts.readLines();
    const event = await park();
    expect(await retryParkedOrder(carts.database.pool, event, placed)).toEqual({ kind: 'already-applied' });
    expect(await carts.readLines()).toEqual(lines);
    expect(await readOutcomes()).toMatchObject([{ outcome: 'retried' }]);
  });

  it('waits for a batch of the partition that is in flight', async () => {
    const event = await park();
    await carts.query('BEGIN');
    await carts.query('SELECT FROM consumer_offsets FOR UPDATE');
    let isDone = false;
    const retried = retryParkedOrder(carts.database.pool, event, order('ann')).finally(() => {
      isDone = true;
    });
    await waitFor('the retry to wait for the lock', async () => {
      const waiting = await carts.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
      );
      return waiting.length > 0;
    });
    expect(isDone).toBe(false);
    await carts.query('COMMIT');
    expect(await retried).toEqual({ kind: 'applied' });
  });

  it('is refused after a discard, and nothing is applied', async () => {
    const event = await park();
    expect(await discardParkedEvent(carts.database.pool, event, 'a test')).toEqual({ kind: 'discarded' });
    const closed = { kind: 'closed', outcome: 'discarded' };
    expect(await retryParkedOrder(carts.database.pool, event, order('ann'))).toEqual(closed);
    expect(await discardParkedEvent(carts.database.pool, event, 'another reason')).toEqual(closed);
    expect(await readOutcomes()).toEqual([{ outcome: 'discarded', outcome_by: 'ann', outcome_reason: 'a test' }]);
    expect(await carts.query('SELECT FROM applied_orders')).toEqual([]);
    const missing = { ...event, parkedId: event.parkedId + 1n };
    expect(await retryParkedOrder(carts.database.pool, missing, order('ann'))).toEqual({ kind: 'missing' });
  });
});

describe('parking where a partition has halted', () => {
  const record = { offset: 2n, lastOffset: 2n, key: null, value: Buffer.from('y'), reason: 'by an operator' };

  /** Stands at offset 0, with control records up to 2. */
  async function halt() {
    const owned = await carts.own('live');
    const { ownerEpoch, expectedOffset: nextOffset } = owned.batch([]);
    const ownership = { ...place, ownerEpoch, nextOffset, lastCommitLsn: null, topicId: null };
    await carts.database.pool.query(recordHalt(TEST_GROUP, ownership, { code: 'SINK_DEFECT', message: 'x' }));
    return { owned, stands: { ...place, ownerEpoch, nextOffset } };
  }

  it('keeps the bytes, moves behind the record, ends the halt and fences the owner', async () => {
    const { owned, stands } = await halt();
    const parked = { consumerGroup: TEST_GROUP, stands, record, replay: undefined };
    expect(await parkHaltedRecord(carts.database.pool, parked)).toBeTypeOf('bigint');
    expect(await readOffset()).toMatchObject({ next_offset: '3', halted_code: null, halted_message: null });
    expect(await carts.query('SELECT "offset", value, reason, outcome FROM parked_events')).toEqual([
      { offset: '2', value: record.value, reason: record.reason, outcome: null },
    ]);
    expect(await applyBatch(carts.database, owned.batch([order('ann')]))).toEqual({ kind: 'stale-owner' });
    expect(await parkHaltedRecord(carts.database.pool, parked)).toBeNull();
  });

  it('moves behind the last offset of a whole batch', async () => {
    const { stands } = await halt();
    const batch = { ...record, lastOffset: 7n };
    await parkHaltedRecord(carts.database.pool, {
      consumerGroup: TEST_GROUP,
      stands,
      record: batch,
      replay: undefined,
    });
    expect(await readOffset()).toMatchObject({ next_offset: '8', halted_code: null });
    expect(await carts.query('SELECT "offset" FROM parked_events')).toEqual([{ offset: '2' }]);
  });

  it('changes nothing where a sink has taken the partition over, or it stands elsewhere', async () => {
    const { stands } = await halt();
    const before = await readOffset();
    for (const other of [
      { ...stands, ownerEpoch: stands.ownerEpoch - 1n },
      { ...stands, nextOffset: 1n },
      { ...stands, partition: 1 },
    ]) {
      const parked = { consumerGroup: TEST_GROUP, stands: other, record, replay: undefined };
      expect(await parkHaltedRecord(carts.database.pool, parked)).toBeNull();
    }
    expect(await readOffset()).toEqual(before);
    await carts.own('live');
    expect(
      await parkHaltedRecord(carts.database.pool, { consumerGroup: TEST_GROUP, stands, record, replay: undefined }),
    ).toBeNull();
    expect(await carts.query('SELECT FROM parked_events')).toEqual([]);
  });

  it('counts a replayed order for its run', async () => {
    const { stands } = await halt();
    const runId = randomUUID();
    const replay = { runId, tally: { count: 1n, checksum: 77n } };
    await parkHaltedRecord(carts.database.pool, { consumerGroup: TEST_GROUP, stands, record, replay });
    expect(await carts.query('SELECT run_id, parked, checksum FROM replay_results')).toEqual([
      { run_id: runId, parked: '1', checksum: '77' },
    ]);
  });
});
