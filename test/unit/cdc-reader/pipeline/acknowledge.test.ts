// Acknowledging against a server that only takes notes: what Postgres is told, and after which check of the captured tables.
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { CaptureFingerprint } from '#schemas/capture-fingerprint.ts';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { createLogger } from '#service/logger.ts';
import { createAcknowledger } from '../../../../cdc-reader/pipeline/acknowledge.ts';
import { createCaptureCheck } from '../../../../cdc-reader/pipeline/capture-check.ts';
import type { Capture } from '../../../../cdc-reader/postgres/capture.ts';
import { exampleCapture, visibleCapture } from '../../../support/examples/capture.ts';

const at = (value: number): Lsn => toLsn(BigInt(value));

/** `checks` are answered by hand, or at once with what is `found`. */
function createStage(options: { byHand?: boolean } = {}) {
  const acknowledged: bigint[] = [];
  const failures: Error[] = [];
  const checks: PromiseWithResolvers<Capture>[] = [];
  const stage = { found: exampleCapture(), acknowledged, failures, checks };
  const acknowledger = createAcknowledger({
    captureCheck: createCaptureCheck({
      source: {
        roleName: 'reader',
        readCapture: () => {
          const check = Promise.withResolvers<Capture>();
          checks.push(check);
          if (options.byHand !== true) check.resolve(visibleCapture(stage.found));
          return check.promise;
        },
        awaitVisible: async () => undefined,
        readTableNames: async () => new Map(),
        readCurrentWal: async () => ({ flushLsn: at(0x300), timeline: 1, inRecovery: false }),
      },
      config: { publicationName: 'shop' },
      expected: exampleCapture(),
      logger: createLogger('test', 'silent'),
    }),
    acknowledge: (throughLsn) => acknowledged.push(throughLsn),
    onFailure: (error) => failures.push(error),
  });
  return Object.assign(stage, { acknowledger });
}

describe('acknowledging', () => {
  it('tells Postgres what this start has published, which was checked before its commit', async () => {
    const stage = createStage({ byHand: true });
    await stage.acknowledger.published(at(100));
    await stage.acknowledger.published(at(200));
    expect([stage.acknowledged, stage.checks]).toEqual([[100n, 200n], []]);
  });

  it('tells it what was found published, once the captured tables were found unchanged', async () => {
    const stage = createStage({ byHand: true });
    stage.acknowledger.found(at(100));
    await turn();
    expect(stage.acknowledged).toEqual([]);
    stage.checks[0]!.resolve(visibleCapture());
    await stage.acknowledger.foundAcknowledged();
    expect(stage.acknowledged).toEqual([100n]);
  });

  it('never goes back', async () => {
    const stage = createStage({ byHand: true });
    stage.acknowledger.found(at(100));
    await stage.acknowledger.published(at(200));
    stage.checks[0]!.resolve(visibleCapture());
    await stage.acknowledger.foundAcknowledged();
    await stage.acknowledger.published(at(150));
    expect(stage.acknowledged).toEqual([200n]);
  });

  it.each<[string, Partial<CaptureFingerprint>, string]>([
    ['the publication is dropped', { publication: null }, 'PUBLICATION_CHANGED'],
    ['a table is replaced', { tables: { ...exampleCapture().tables, orders: null } }, 'TABLES_CHANGED'],
  ])('acknowledges nothing any more and fails where the check finds that %s', async (_, change, code) => {
    const stage = createStage();
    stage.found = exampleCapture(change);
    stage.acknowledger.found(at(200));
    await stage.acknowledger.foundAcknowledged();
    await stage.acknowledger.published(at(300));
    expect(stage.acknowledged).toEqual([]);
    expect(stage.failures).toMatchObject([{ code, details: { throughLsn: '0/C8', flushLsn: '0/300' } }]);
    expect(stage.failures[0]!.message).toMatch(/before 0\/C8 was published; the server is at 0\/300\./);
  });

  it('fails with what the check failed with', async () => {
    const stage = createStage({ byHand: true });
    stage.acknowledger.found(at(100));
    await turn();
    stage.checks[0]!.reject(new Error('the session has ended'));
    await stage.acknowledger.foundAcknowledged();
    expect(stage.failures).toMatchObject([{ message: 'the session has ended' }]);
    expect(stage.acknowledged).toEqual([]);
  });

  it('tells nothing after it was closed, even if the check was under way', async () => {
    const stage = createStage({ byHand: true });
    stage.acknowledger.found(at(100));
    await turn();
    stage.acknowledger.close();
    stage.checks[0]!.resolve(visibleCapture(exampleCapture({ publication: null })));
    await stage.acknowledger.foundAcknowledged();
    await stage.acknowledger.published(at(200));
    expect([stage.acknowledged, stage.failures]).toEqual([[], []]);
  });
});
