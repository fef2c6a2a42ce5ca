// What becomes of the transactions around one that can't be published, and around a row that is refused: what is still
// published and acknowledged, and what never becomes visible.

import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { exampleCapture, exampleOids, exampleTable } from '../../../support/examples/capture.ts';
import { insertOf } from '../../../support/examples/decode-tuple.ts';
import { ordersRelation, tupleOf, uuid } from '../../../support/examples/pgoutput-messages.ts';
import { at, committed, endStages, type Stage, streaming } from '../../../support/stack/data-path-stage.ts';
import { waitFor } from '../../../support/wait.ts';

const orphan = uuid(900);
const far = uuid(901);

/** A transaction that can't be published, from BEGIN to COMMIT: a whole order, and then something wrong. */
const bad: Record<string, { code: string; rows: (stage: Stage) => void }> = {
  'an order without items': { code: 'ORDER_WITHOUT_ITEMS', rows: (stage) => stage.orderRow(orphan) },
  'an item without its order': { code: 'ITEM_WITHOUT_ORDER', rows: (stage) => stage.itemRow(orphan) },
  'a value that no event can hold': {
    code: 'ROW_NOT_PUBLISHABLE',
    rows: (stage) => {
      stage.orderRow(far, 'infinity');
      stage.itemRow(far);
    },
  },
};

function badTransaction(stage: Stage, commitLsn: number, rows = bad['an order without items']!.rows): void {
  stage.begin(commitLsn);
  stage.order();
  rows(stage);
  stage.commit(commitLsn, commitLsn + 10);
}

/** Streaming, with one transaction in flight whose commit is held back. */
async function withOneInFlight(
  options: Parameters<typeof streaming>[0] = {},
  more: Parameters<typeof streaming>[1] = {},
) {
  const stage = await streaming(options, more);
  stage.keepalive(10);
  await waitFor('the first acknowledgement', () => stage.stream.acknowledged.length === 1);
  const release = stage.kafka.holdCommits();
  stage.transaction(100, 120);
  await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
  return Object.assign(stage, { release });
}

const swapped = () =>
  exampleCapture({ tables: { ...exampleCapture().tables, orders: exampleTable('orders', { oid: 17_000 }) } });

/** A row under the name of a captured table, of a table with another OID. */
function refusedRow(stage: Stage, commitLsn: number): void {
  stage.begin(commitLsn);
  stage.bring({ ...ordersRelation, relationOid: 17_000 });
  stage.bring(insertOf(17_000, tupleOf([])));
}

afterEach(endStages);

describe('a transaction that can not be published', () => {
  it.each(Object.entries(bad))(
    'for %s ends the pipeline once all that precedes it is published and acknowledged, and nothing else is',
    async (_, { code, rows }) => {
      const stage = await withOneInFlight();
      stage.transaction(130, 140);
      stage.transaction(150, 160, 2);
      badTransaction(stage, 170, rows);
      expect(stage.stream.isPaused).toBe(true);
      stage.transaction(200, 220);
      stage.release();
      await expect(stage.running).rejects.toMatchObject({ code });
      expect(stage.positions()).toEqual([['100:0'], ['130:0', '150:0', '150:1']]);
      expect(stage.checkpoints().at(-1)).toMatchObject({ throughLsn: 160n, partial: null });
      expect(stage.stream.acknowledged.at(-1)).toBe(160n);
      expect(stage.stream.isPaused).toBe(true);
    },
  );

  it('that is the first to come ends it with nothing published, and the position as it was', async () => {
    const stage = await streaming();
    badTransaction(stage, 100);
    stage.transaction(200, 220);
    await expect(stage.running).rejects.toMatchObject({ code: 'ORDER_WITHOUT_ITEMS' });
    expect(stage.kafka.committed).toEqual([]);
    expect(stage.stream.acknowledged).toEqual([10n]);
  });

  it('is not passed by keepalives or by transactions without orders that follow it', async () => {
    const stage = await withOneInFlight({ env: { IDLE_CHECKPOINT_MS: '100' } });
    badTransaction(stage, 170);
    stage.keepalive(500, true);
    stage.transaction(600, 620, 0);
    stage.keepalive(700, true);
    stage.release();
    await expect(stage.running).rejects.toMatchObject({ code: 'ORDER_WITHOUT_ITEMS' });
    await delay(250); // two idle intervals
    expect(stage.checkpoints().map(({ throughLsn }) => throughLsn)).toEqual([120n]);
    expect(stage.stream.acknowledged).toEqual([10n, 120n]);
  });

  it('lets idle progress before it count, up to where it commits at most', async () => {
    const stage = await streaming();
    stage.keepalive(170, true);
    await committed(stage, 1);
    badTransaction(stage, 170);
    await expect(stage.running).rejects.toMatchObject({ code: 'ORDER_WITHOUT_ITEMS' });
    expect(stage.stream.acknowledged.at(-1)).toBe(170n);
    expect(stage.checkpoints().map(({ throughLsn }) => throughLsn)).toEqual([170n]);
  });

  it('does not hide that the tables have changed, which is the better reason', async () => {
    const stage = await streaming();
    stage.keepalive(10);
    await waitFor('the first acknowledgement', () => stage.stream.acknowledged.length === 1);
    stage.found = swapped();
    badTransaction(stage, 170);
    await expect(stage.running).rejects.toMatchObject({ code: 'TABLES_CHANGED' });
    expect(stage.kafka.committed).toEqual([]);
    expect(stage.stream.acknowledged).toEqual([10n]);
  });

  it('lets nothing that waits before it be published over changed tables', async () => {
    const stage = await withOneInFlight();
    stage.transaction(130, 140);
    badTransaction(stage, 170);
    stage.found = swapped();
    stage.release();
    await expect(stage.running).rejects.toMatchObject({ code: 'TABLES_CHANGED' });
    expect(stage.positions()).toEqual([['100:0']]); // its check had passed
    expect(stage.stream.acknowledged).toEqual([10n, 120n]); // and it covers the acknowledgement too
  });

  it('stops at its last partial checkpoint when it is huge', async () => {
    const env = { GROUP_MAX_ORDERS: '10', TRANSACTION_TIMEOUT_MS: '1000' };
    const stage = await streaming({ env, kafka: { slowSendMs: 200 } });
    stage.begin(100);
    for (let n = 0; n < 95; n++) stage.order();
    stage.orderRow(orphan);
    stage.commit(100, 120);
    await expect(stage.running).rejects.toMatchObject({ code: 'ORDER_WITHOUT_ITEMS', details: { ordinal: '95' } });
    const published = stage.positions().flat();
    expect(published.length).toBeGreaterThan(0);
    expect(published.length).toBeLessThan(95);
    expect(published).toEqual(published.map((_, ordinal) => `100:${ordinal}`));
    for (const { throughLsn } of stage.checkpoints()) expect(throughLsn).toBe(10n);
    const partial = { commitLsn: 100n, ordinal: published.length - 1 };
    expect(stage.checkpoints().at(-1)).toMatchObject({ partial });
    expect(stage.stream.acknowledged).toEqual([10n]);
  });
});

describe('a row of a table that only looks like a captured one', () => {
  it('is refused, and nothing that came since the last check is published or acknowledged', async () => {
    const stage = await streaming();
    stage.keepalive(10);
    await waitFor('the first acknowledgement', () => stage.stream.acknowledged.length === 1);
    stage.transaction(100, 120);
    refusedRow(stage, 170);
    await expect(stage.running).rejects.toMatchObject({ code: 'TABLES_CHANGED' });
    await delay(50); // what would follow the check
    expect(stage.kafka.committed).toEqual([]);
    expect(stage.stream.acknowledged).toEqual([10n]);
  });

  it('lets what is in flight end by its own check, and publishes nothing of what waits behind it', async () => {
    const stage = await withOneInFlight();
    stage.transaction(130, 140);
    refusedRow(stage, 170);
    const isOver = stage.running.then(
      () => true,
      () => true,
    );
    expect(await Promise.race([isOver, delay(50, false)])).toBe(false); // its Kafka transaction would stay open
    stage.release();
    await expect(stage.running).rejects.toMatchObject({ code: 'TABLES_CHANGED' });
    await committed(stage, 1);
    await delay(50);
    expect(stage.positions()).toEqual([['100:0']]);
    expect(stage.stream.acknowledged).toEqual([10n]);
  });

  it('is what refuses, not the RELATION message that comes before it', async () => {
    const stage = await streaming();
    stage.begin(100);
    stage.bring({ ...ordersRelation, relationOid: 17_000 });
    stage.order();
    stage.commit(100, 120);
    await committed(stage, 1);
    expect(stage.positions()).toEqual([['100:0']]);
  });

  it('is another table’s, and counted, where it is in another schema', async () => {
    const stage = await streaming();
    stage.begin(100);
    stage.bring({ ...ordersRelation, relationOid: 17_000, schema: 'shop2' });
    stage.bring(insertOf(17_000, tupleOf([])));
    stage.order();
    stage.commit(100, 120);
    await committed(stage, 1);
    expect(stage.positions()).toEqual([['100:0']]);
    expect(await stage.metric('tillstream_reader_ignored_changes_total{reason="other_table"}')).toBe(1);
  });

  it('is known by the OIDs of the checkpoint, not by whatever comes first', async () => {
    const stage = await streaming();
    stage.begin(100);
    stage.bring({ ...ordersRelation, name: 'orders_old' });
    stage.bring(insertOf(exampleOids.orders, tupleOf([])));
    await expect(stage.running).rejects.toMatchObject({ code: 'TABLES_CHANGED' });
  });
});

describe('a group that Kafka refuses as too large', () => {
  const kafka = { maxValueBytes: 10_000 };
  const huge = (stage: Stage, commitLsn: number): void => {
    stage.begin(commitLsn);
    stage.order('x'.repeat(20_000));
    stage.commit(commitLsn, commitLsn + 10);
  };

  it('ends this start only, and says up to where its transactions must go alone', async () => {
    const stage = await withOneInFlight({ kafka });
    stage.transaction(130, 140);
    huge(stage, 150);
    stage.transaction(170, 180);
    stage.release();
    await expect(stage.running).rejects.toMatchObject({ code: 'GROUP_TOO_LARGE', lastCommitLsn: 170n });
    expect(stage.positions()).toEqual([['100:0']]);
    expect(stage.stream.acknowledged.every((lsn) => lsn <= 120n)).toBe(true);
  });

  it('is published one by one by the next start, up to the one that is too large', async () => {
    const stage = await streaming({ kafka, checkpoint: { throughLsn: at(120) } }, { isolateThroughLsn: at(170) });
    stage.transaction(130, 140);
    huge(stage, 150);
    stage.transaction(170, 180);
    await expect(stage.running).rejects.toMatchObject({ code: 'EVENT_TOO_LARGE' });
    expect(stage.positions()).toEqual([['130:0']]);
    expect(stage.checkpoints().at(-1)).toMatchObject({ throughLsn: 140n });
    expect(stage.stream.acknowledged.at(-1)).toBe(140n);
  });

  it('does not keep what lies behind it from being grouped', async () => {
    const stage = await withOneInFlight({ kafka }, { isolateThroughLsn: at(150) });
    for (const lsn of [130, 150, 170, 190]) stage.transaction(lsn, lsn + 5);
    stage.release();
    await committed(stage, 4);
    expect(stage.positions()).toEqual([['100:0'], ['130:0'], ['150:0'], ['170:0', '190:0']]);
  });
});
