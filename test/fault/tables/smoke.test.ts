// The most important of what happens to captured tables, rights and rows, checked with every change; the whole of it is in
// tables-changed, tables-published, tables-unharmed, visibility and bad-rows.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Service } from '../../support/process/service-process.ts';
import {
  type CaptureStage,
  createCaptureStage,
  requireNothingBehind,
  requireTablesChanged,
  waitForProblems,
} from '../../support/stack/capture-stage.ts';
import { readHalt, readPublished } from '../../support/stack/require-halted.ts';
import { captureChanges } from '../../support/stack/table-changes.ts';

const swap = captureChanges.find(({ name }) => name === 'both tables are swapped for new ones by LIKE')!;

describe('a reader whose captured tables are tampered with', () => {
  let stage: CaptureStage;
  beforeEach(async () => {
    stage = await createCaptureStage('tables_smoke');
  });
  afterEach(() => stage.cleanUp());

  const publishSome = async (): Promise<Service> => {
    const reader = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 20 });
    await stage.requireClean();
    return reader;
  };

  it('halts, and acknowledges nothing behind the change, when they are swapped while it runs', async () => {
    const reader = await publishSome();
    const changedLsn = await stage.walEnd();
    await stage.run(swap.there);
    const endLsn = await stage.walEnd();
    await stage.load.backlog({ first: 100, count: 5 });
    await requireTablesChanged(reader, swap.says);
    expect(await requireNothingBehind(stage, changedLsn, endLsn)).toBe(20);
  });

  it('halts at its start when they were swapped and swapped back while it was down', async () => {
    await (await publishSome()).stop();
    const changedLsn = await stage.walEnd();
    await stage.run([...swap.there, 'SELECT order_load.place(100)', ...swap.back!]);
    const endLsn = await stage.walEnd();
    await stage.load.backlog({ first: 200, count: 5 });
    await requireTablesChanged(await stage.startReader(), swap.says);
    expect(await requireNothingBehind(stage, changedLsn, endLsn)).toBe(20);
  });

  it('waits at its first start while row-level security applies to its role, and goes on by itself', async () => {
    await stage.load.backlog({ first: 0, count: 3 });
    await stage.sql('ALTER TABLE orders ENABLE ROW LEVEL SECURITY');
    const reader = await stage.startReader({ more: (await stage.createRole()).env });
    expect((await waitForProblems(reader)).codes).toEqual(['ROW_LEVEL_SECURITY']);
    await stage.sql('ALTER TABLE orders DISABLE ROW LEVEL SECURITY');
    await stage.requireClean();
  });

  it('publishes what precedes a transaction that can not be published, and halts', async () => {
    await stage.sql('ALTER TABLE orders DISABLE TRIGGER orders_have_items');
    await (await publishSome()).stop();
    await stage.load.backlog({ first: 100, count: 3 });
    await stage.sql("INSERT INTO orders (order_id, user_id, total_cents) VALUES (gen_random_uuid(), 'user-1', 600)");
    const endLsn = await stage.walEnd();
    await stage.load.backlog({ first: 200, count: 3 });
    await readHalt(await stage.startReader(), 'ORDER_WITHOUT_ITEMS');
    expect(await readPublished(stage)).toHaveLength(23);
    expect(await stage.confirmedLsn()).toBeLessThan(endLsn);
  });
});
