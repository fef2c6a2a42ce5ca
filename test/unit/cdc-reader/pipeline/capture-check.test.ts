// The check that everything which moves forward waits for, against a catalogue that a test writes by hand.
import { describe, expect, it } from 'vitest';
import type { CaptureFingerprint, TableName } from '#schemas/capture-fingerprint.ts';
import { toLsn } from '#schemas/lsn.ts';
import type { Logger } from '#service/logger.ts';
import { READER_CAPTURE_CHANGED, READER_VISIBILITY_CHANGED } from '../../../../cdc-reader/metrics.ts';
import { createCaptureCheck } from '../../../../cdc-reader/pipeline/capture-check.ts';
import { exampleCapture, exampleOids, exampleTable, visibleCapture } from '../../../support/examples/capture.ts';

const throughLsn = toLsn(0x100n);

function createStage(expected = exampleCapture()) {
  const logged: { level: string; event: string; text: string }[] = [];
  const log = (level: string) => (fields: { event: string }, text: string) => {
    logged.push({ level, event: fields.event, text });
  };
  const stage = {
    found: visibleCapture(),
    names: new Map<number, TableName>(),
    asked: [] as number[][],
    logged,
    afterwards: undefined as CaptureFingerprint | undefined,
  };
  const check = createCaptureCheck({
    source: {
      roleName: 'reader',
      readCapture: async () => stage.found,
      awaitVisible: async () => {
        // The COMMIT has come, and from now on the catalogue shows what it did.
        stage.found = visibleCapture(stage.afterwards ?? exampleCapture());
      },
      readTableNames: async (oids) => {
        stage.asked.push([...oids]);
        return stage.names;
      },
      readCurrentWal: async () => ({ flushLsn: toLsn(0x200n), timeline: 1, inRecovery: false }),
    },
    config: { publicationName: 'shop' },
    expected,
    logger: { info: log('info'), warn: log('warn') } as unknown as Logger,
  });
  return Object.assign(stage, { check });
}

const swapped = (): CaptureFingerprint =>
  exampleCapture({ tables: { ...exampleCapture().tables, orders: exampleTable('orders', { oid: 17_000 }) } });
const publication = exampleCapture().publication!;

describe('the check of the captured tables', () => {
  it('passes in silence while nothing has changed', async () => {
    const stage = createStage();
    await stage.check.run(throughLsn);
    expect([stage.logged, stage.asked]).toEqual([[], []]);
    expect(stage.check.accepted).toEqual(exampleCapture());
  });

  it('waits until the catalogue shows what a transaction did that the stream has brought', async () => {
    const stage = createStage();
    stage.afterwards = swapped();
    await stage.check.run(throughLsn);
    await expect(stage.check.run(throughLsn, 7)).rejects.toMatchObject({ code: 'TABLES_CHANGED' });
  });

  it('halts where a table is another one, and says where the captured one is now, and both positions', async () => {
    const stage = createStage();
    stage.found = visibleCapture(swapped());
    stage.names.set(exampleOids.orders, { schema: 'public', name: 'orders_old', kind: 'r' });
    stage.names.set(exampleOids.order_items, { schema: 'public', name: 'order_items', kind: 'r' });
    const error = await stage.check.run(throughLsn).catch((thrown: Error) => thrown as Error);
    expect(error).toMatchObject({
      code: 'TABLES_CHANGED',
      details: { throughLsn: '0/100', flushLsn: '0/200', 'public.orders oid': '16384 -> 17000' },
    });
    expect((error as Error).message).toContain('The captured public.orders (oid 16384) is now public.orders_old.');
    expect(stage.asked).toEqual([[exampleOids.orders, exampleOids.order_items]]);
  });

  it('halts where the publication is another one', async () => {
    const stage = createStage();
    stage.found = visibleCapture(exampleCapture({ publication: { ...publication, xmin: '900' } }));
    await expect(stage.check.run(throughLsn)).rejects.toMatchObject({ code: 'PUBLICATION_CHANGED' });
    stage.found = visibleCapture(exampleCapture({ publication: null }));
    await expect(stage.check.run(throughLsn)).rejects.toThrow('The publication shop was dropped');
  });

  it('halts again and again: what it has refused never becomes what it expects', async () => {
    const stage = createStage();
    stage.found = visibleCapture(swapped());
    for (let n = 0; n < 2; n++) await expect(stage.check.run(throughLsn)).rejects.toThrow();
    expect(stage.check.accepted).toEqual(exampleCapture());
  });

  it('accepts another owner with one warning, and expects from then on what it has found', async () => {
    const stage = createStage();
    const changed = exampleCapture({ publication: { ...publication, owner: 11, xmin: '900' } });
    stage.found = visibleCapture(changed);
    await stage.check.run(throughLsn);
    await stage.check.run(throughLsn);
    expect(stage.logged).toMatchObject([{ level: 'warn', event: READER_CAPTURE_CHANGED }]);
    expect(stage.logged[0]!.text).toMatch(/^Accepted: owner or privileges of the publication changed/);
    expect(stage.check.accepted).toEqual(changed);
    stage.found = visibleCapture(exampleCapture({ publication: { ...publication, owner: 11, xmin: '901' } }));
    await expect(stage.check.run(throughLsn)).rejects.toMatchObject({ code: 'PUBLICATION_CHANGED' });
  });

  it('warns once of what the role may not read any more, goes on, and says when it may again', async () => {
    const stage = createStage();
    const filtered = visibleCapture(exampleCapture(), { orders: { isFiltered: true } });
    for (const found of [filtered, filtered, visibleCapture(), visibleCapture()]) {
      stage.found = found;
      await stage.check.run(throughLsn);
    }
    const event = READER_VISIBILITY_CHANGED;
    expect(stage.logged).toMatchObject([
      { level: 'warn', event },
      { level: 'info', event },
    ]);
    expect(stage.logged[0]!.text).toContain('Row-level security of public.orders applies to the role reader');
  });

  it('warns anew where another right goes missing', async () => {
    const stage = createStage();
    stage.found = visibleCapture(exampleCapture(), { orders: { isFiltered: true } });
    await stage.check.run(throughLsn);
    stage.found = visibleCapture(exampleCapture(), { orders: { isFiltered: true }, order_items: { maySelect: false } });
    await stage.check.run(throughLsn);
    expect(stage.logged.map(({ level }) => level)).toEqual(['warn', 'warn']);
    expect(stage.logged[1]!.text).toContain('may not read public.order_items');
  });

  it('does not record what the role may read: another role finds the same tables', async () => {
    const stage = createStage();
    stage.found = visibleCapture(exampleCapture(), { orders: { maySelect: false } });
    await stage.check.run(throughLsn);
    expect(stage.check.accepted).toEqual(exampleCapture());
  });
});
