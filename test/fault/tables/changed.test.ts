// A captured table that is renamed, replaced, moved or bypassed keeps orders out of the stream without an error. The reader
// halts before anything behind the change is published or acknowledged, whether it was idle, busy or down when it happened,
// and also when the change has come and gone; and it stays halted after a restart (I1, I11).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Service } from '../../support/process/service-process.ts';
import {
  type CaptureStage,
  createCaptureStage,
  requireNothingBehind,
  requireTablesChanged,
  resumePaused,
  waitForProblems,
} from '../../support/stack/capture-stage.ts';
import { waitPaused } from '../../support/stack/start-services.ts';
import { type CaptureChange, captureChanges, placeByName } from '../../support/stack/table-changes.ts';
import { waitFor } from '../../support/wait.ts';

describe('a reader whose captured tables are changed', () => {
  let stage: CaptureStage;
  beforeEach(async () => {
    stage = await createCaptureStage('tables_changed');
  });
  afterEach(() => stage.cleanUp());

  const publishSome = async (options: Parameters<CaptureStage['startStreaming']>[0] = {}): Promise<Service> => {
    const reader = await stage.startStreaming(options);
    await stage.load.insertTogether({ first: 0, count: 20 });
    await stage.requireClean();
    return reader;
  };
  const placeSome = async ({ place = placeByName }: CaptureChange): Promise<void> => {
    if (place !== null) await stage.run([5000, 5001, 5002].map(place));
  };
  /** What committed behind this is behind the change; the tables are locked while it is read. */
  const change = async (texts: readonly string[]): Promise<{ changedLsn: bigint; endLsn: bigint }> => {
    const [first, ...more] = texts;
    const [row] = await stage.sql(
      `LOCK TABLE orders, order_items; CREATE TABLE order_load.changed_at AS SELECT pg_current_wal_insert_lsn() AS lsn;
       ${first}; SELECT (lsn - '0/0'::pg_lsn)::text AS lsn FROM order_load.changed_at`,
    );
    const endLsn = await stage.walEnd();
    await stage.run(more);
    return { changedLsn: BigInt(row!.lsn as string), endLsn };
  };
  const requireHeldBack = async (
    reader: Service,
    { says, waitsFor, back, isToldByRows }: CaptureChange,
    { changedLsn, endLsn }: { changedLsn: bigint; endLsn: bigint },
    isStill = true,
  ): Promise<void> => {
    await requireTablesChanged(reader, says);
    const count = await requireNothingBehind(stage, changedLsn, endLsn);
    await reader.stop();
    const again = await stage.startReader();
    if (isStill && waitsFor !== undefined) {
      expect(new Set((await waitForProblems(again)).codes)).toEqual(new Set([waitsFor]));
      await stage.run(back!);
    }
    await requireTablesChanged(again, says);
    const countAfter = await requireNothingBehind(stage, changedLsn, endLsn);
    // A check that passes before the refused row has come lets what precedes it be published.
    if (isToldByRows) expect(countAfter).toBeGreaterThanOrEqual(count);
    else expect(countAfter).toBe(count);
  };
  const named = captureChanges.map((one) => [one.name, one] as const);
  const undoable = named.filter(([, { back }]) => back !== undefined);
  // A rename is undone in the very transaction; what can't be altered twice there is tried in several only.
  const atOnce = undoable.filter(([, { there }]) => there.length === 1);

  it.each(named)('halts while it is idle when %s', async (_, one) => {
    const reader = await publishSome();
    const at = await change(one.there);
    await placeSome(one);
    await requireHeldBack(reader, one, at);
  });

  it.each(named)('halts amid traffic and publishes nothing behind the change when %s', async (_, one) => {
    const reader = await publishSome({ more: { GROUP_MAX_ORDERS: '10' } });
    await stage.load.backlog({ first: 20, count: 500 });
    const traffic = stage.startTraffic({ mayFail: true });
    await traffic.more(20);
    const at = await change(one.there);
    await traffic.more(20);
    await requireHeldBack(reader, one, at);
    await traffic.stop();
  });

  it.each(named)('halts at its next start when %s while it is down', async (_, one) => {
    await (await publishSome()).stop();
    await stage.load.backlog({ first: 20, count: 5 });
    const at = await change(one.there);
    await placeSome(one);
    const reader = await stage.startReader();
    if (one.waitsFor !== undefined) {
      expect(new Set((await waitForProblems(reader)).codes)).toEqual(new Set([one.waitsFor]));
      await stage.run(one.back!);
    }
    await requireHeldBack(reader, one, at, false);
  });

  it.each(undoable)('halts while it is idle when it has come and gone that %s', async (_, one) => {
    const reader = await publishSome();
    const at = await change(one.there);
    await placeSome(one);
    await stage.run(one.back!);
    await stage.load.backlog({ first: 100, count: 5 });
    await requireHeldBack(reader, one, at, false);
  });

  it.each(undoable)('halts while it is busy when it has come and gone meanwhile that %s', async (_, one) => {
    const reader = await publishSome({ failpoints: 'reader.before-send=pause:2' });
    await stage.load.backlog({ first: 20, count: 1 });
    await waitPaused(reader, 'reader.before-send');
    await stage.load.backlog({ first: 21, count: 200 });
    const at = await change(one.there);
    await placeSome(one);
    await stage.run(one.back!);
    await stage.load.backlog({ first: 300, count: 5 });
    resumePaused(reader);
    await requireHeldBack(reader, one, at, false);
  });

  it.each(undoable)(
    'publishes nothing of what follows when it has come and gone, all at once, that %s',
    async (_, one) => {
      const reader = await publishSome({ more: { WAL_SENDER_TIMEOUT_MS: '20000' } });
      // Nothing is left to acknowledge, so that only the check before the commit holds back what follows.
      const end = await stage.walEnd();
      await waitFor('the acknowledgement', async () => (await stage.confirmedLsn()) >= end, { deadlineMs: 30_000 });
      reader.pause();
      const at = await change(one.there);
      await placeSome(one);
      await stage.run(one.back!);
      await stage.load.backlog({ first: 100, count: 5 });
      reader.resume();
      await requireHeldBack(reader, one, at, false);
    },
  );

  it.each(undoable)('halts at its next start when it has come and gone while it was down that %s', async (_, one) => {
    await (await publishSome()).stop();
    const at = await change(one.there);
    await placeSome(one);
    await stage.run(one.back!);
    await stage.load.backlog({ first: 100, count: 5 });
    await requireHeldBack(await stage.startReader(), one, at, false);
  });

  it.each(atOnce)('halts when it has come and gone in one transaction, while it runs, that %s', async (_, one) => {
    const reader = await publishSome();
    const at = await change([inOneTransaction(one)]);
    await stage.load.backlog({ first: 100, count: 5 });
    await requireHeldBack(reader, one, at, false);
  });

  it.each(atOnce)('halts when it has come and gone in one transaction, while it is down, that %s', async (_, one) => {
    await (await publishSome()).stop();
    const at = await change([inOneTransaction(one)]);
    await stage.load.backlog({ first: 100, count: 5 });
    await requireHeldBack(await stage.startReader(), one, at, false);
  });
});

function inOneTransaction({ there, back, place = placeByName }: CaptureChange): string {
  const orders = place === null ? [] : [5000, 5001].map(place);
  return [...there, ...orders, 'SET CONSTRAINTS ALL IMMEDIATE', ...back!].join(';\n');
}
