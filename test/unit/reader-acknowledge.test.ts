// Acknowledging against a server that only takes notes: what Postgres is told, after which look, and how often it looks.
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import { createAcknowledger } from '../../cdc-reader/acknowledge.ts';
import { createPublicationLook } from '../../cdc-reader/publication-look.ts';
import { waitFor } from '../support/wait.ts';

const at = (value: number): Lsn => toLsn(BigInt(value));

/** `looks` are answered by hand, or at once with what `fingerprint` says. */
function createStage(options: { byHand?: boolean } = {}) {
  const acknowledged: bigint[] = [];
  const failures: Error[] = [];
  const looks: PromiseWithResolvers<string | null>[] = [];
  const stage = { fingerprint: 'p' as string | null, acknowledged, failures, looks };
  const acknowledger = createAcknowledger({
    lookAtPublication: createPublicationLook({
      readFingerprint: () => {
        const look = Promise.withResolvers<string | null>();
        looks.push(look);
        if (options.byHand !== true) look.resolve(stage.fingerprint);
        return look.promise;
      },
      readFlushLsn: async () => at(0x300),
      publicationName: 'shop',
      expectedFingerprint: 'p',
    }),
    acknowledge: (throughLsn) => acknowledged.push(throughLsn),
    onFailure: (error) => failures.push(error),
  });
  return Object.assign(stage, { acknowledger });
}

describe('acknowledging', () => {
  it('tells Postgres what was requested, once the publication was found unchanged', async () => {
    const stage = createStage({ byHand: true });
    stage.acknowledger.request(at(100));
    await turn();
    expect(stage.acknowledged).toEqual([]);
    stage.looks[0]!.resolve('p');
    await stage.acknowledger.settled();
    expect(stage.acknowledged).toEqual([100n]);
  });

  it('needs a look that is younger than what it tells', async () => {
    const stage = createStage({ byHand: true });
    stage.acknowledger.request(at(100));
    await turn();
    stage.acknowledger.request(at(200)); // the look that is under way began before this
    stage.looks[0]!.resolve('p');
    await waitFor('the second look', () => stage.looks.length === 2);
    expect(stage.acknowledged).toEqual([100n]);
    stage.looks[1]!.resolve('p');
    await stage.acknowledger.settled();
    expect(stage.acknowledged).toEqual([100n, 200n]);
  });

  it.each([null, 'another'])('acknowledges nothing any more and fails once the publication is %s', async (found) => {
    const stage = createStage();
    stage.acknowledger.request(at(100));
    await stage.acknowledger.settled();
    stage.fingerprint = found;
    stage.acknowledger.request(at(200));
    await stage.acknowledger.settled();
    stage.fingerprint = 'p';
    stage.acknowledger.request(at(300));
    await stage.acknowledger.settled();
    expect(stage.acknowledged).toEqual([100n]);
    expect(stage.failures).toMatchObject([{ code: 'PUBLICATION_CHANGED', details: { expected: 'p' } }]);
    expect(stage.failures[0]!.message).toMatch(/before 0\/C8; the server is at 0\/300\./);
  });

  it('fails with what the look failed with', async () => {
    const stage = createStage({ byHand: true });
    stage.acknowledger.request(at(100));
    await turn();
    stage.looks[0]!.reject(new Error('the session has ended'));
    await stage.acknowledger.settled();
    expect(stage.failures).toMatchObject([{ message: 'the session has ended' }]);
    expect(stage.acknowledged).toEqual([]);
  });

  it('goes on after a request for what is acknowledged already', async () => {
    const stage = createStage();
    stage.acknowledger.request(at(100));
    await stage.acknowledger.settled();
    stage.acknowledger.request(at(100));
    stage.acknowledger.request(at(50));
    stage.acknowledger.request(at(200));
    await waitFor('the next acknowledgement', () => stage.acknowledged.length > 1, { deadlineMs: 2_000 });
    expect(stage.acknowledged).toEqual([100n, 200n]);
  });

  it('looks ten times a second at most, however often it is asked', async () => {
    const stage = createStage();
    const startedAt = performance.now();
    for (let lsn = 1; performance.now() - startedAt < 500; lsn++) {
      stage.acknowledger.request(at(lsn));
      await turn();
    }
    await stage.acknowledger.settled();
    const seconds = (performance.now() - startedAt) / 1000;
    expect(stage.looks.length).toBeGreaterThan(1);
    expect(stage.looks.length).toBeLessThanOrEqual(seconds * 11 + 1); // a timer may be a millisecond early
  });

  it('tells nothing after it was closed, even if the look was under way', async () => {
    const stage = createStage({ byHand: true });
    stage.acknowledger.request(at(100));
    await turn();
    stage.acknowledger.close();
    stage.looks[0]!.resolve('another');
    await stage.acknowledger.settled();
    expect([stage.acknowledged, stage.failures]).toEqual([[], []]);
  });
});
