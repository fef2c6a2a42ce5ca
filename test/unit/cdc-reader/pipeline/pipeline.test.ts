// The data path of one start between a stream, a database session and a Kafka that only take notes: what happens in which
// order, what is held back and for how long, and that nothing is left behind when it ends.

import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { addOrderId, hashOrderIds } from '#schemas/checkpoint.ts';
import { exampleCapture } from '../../../support/examples/capture.ts';
import { insertOf } from '../../../support/examples/decode-tuple.ts';
import { tupleOf, uuid } from '../../../support/examples/pgoutput-messages.ts';
import { at, committed, createStage, endStages, streaming } from '../../../support/stack/data-path-stage.ts';
import { waitFor } from '../../../support/wait.ts';

/** How many files of `directory` are open; they are unlinked already. */
function openFiles(directory: string): number {
  const targets = readdirSync('/proc/self/fd').map((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`);
    } catch {
      return ''; // closed meanwhile: the listing itself has one
    }
  });
  return targets.filter((target) => target.startsWith(directory)).length;
}

describe('the pipeline', () => {
  afterEach(endStages);

  it('acknowledges the checkpoint it starts from, then each transaction once Kafka has committed it', async () => {
    const stage = await streaming();
    stage.keepalive(10);
    await waitFor('the first acknowledgement', () => stage.effects.length === 1);
    stage.transaction(100, 120);
    await waitFor('the second', () => stage.effects.length === 2);
    expect(stage.effects).toEqual(['acknowledge 10 after 0 commits', 'acknowledge 120 after 1 commits']);
    expect(stage.positions()).toEqual([['100:0']]);
  });

  it('acknowledges nothing while the commit is under way', async () => {
    const stage = await streaming();
    stage.keepalive(10);
    await waitFor('the first acknowledgement', () => stage.effects.length === 1);
    const release = stage.kafka.holdCommits();
    stage.transaction(100, 120);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    await delay(150); // longer than the least time between two checks
    expect(stage.stream.acknowledged).toEqual([10n]);
    release();
    await waitFor('the acknowledgement', () => stage.stream.acknowledged.length === 2);
  });

  it('makes one group of what arrives while a commit is in flight, in commit order', async () => {
    const stage = await streaming();
    const release = stage.kafka.holdCommits();
    stage.transaction(100, 120);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    for (let n = 0; n < 5; n++) stage.transaction(200 + n * 10, 205 + n * 10);
    release();
    await committed(stage, 2);
    expect(stage.positions()).toEqual([['100:0'], ['200:0', '210:0', '220:0', '230:0', '240:0']]);
    expect(stage.checkpoints().map(({ throughLsn }) => throughLsn)).toEqual([120n, 245n]);
  });

  it('takes a transaction without orders that follows one in the queue as covered by it, and no other', async () => {
    const stage = await streaming();
    const release = stage.kafka.holdCommits();
    stage.transaction(100, 120);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    stage.transaction(130, 140, 0); // the one in flight has its checkpoint already
    stage.transaction(150, 160);
    stage.transaction(170, 180, 0);
    release();
    await committed(stage, 2);
    expect(stage.checkpoints().map(({ throughLsn }) => throughLsn)).toEqual([120n, 180n]);
  });

  it('drops what was published before, by its commit LSN, and publishes a transaction that commits right at throughLsn', async () => {
    const last = { commitLsn: at(100), ordinal: 0, orderId: uuid(0), ordersHash: '' };
    const hash = hashOrderIds();
    addOrderId(hash, uuid(0));
    const lastPublished = { ...last, ordersHash: hash.digest('hex') };
    const stage = await streaming({ checkpoint: { throughLsn: at(120), lastPublished } });
    stage.transaction(100, 120);
    stage.transaction(120, 140);
    await committed(stage, 1);
    expect(stage.positions()).toEqual([['120:0']]);
    expect(await stage.metric('tillstream_reader_dropped_transactions_total')).toBe(1);
  });

  it('records idle progress now and then, through Kafka, and acknowledges it afterwards', async () => {
    const stage = await streaming({ env: { IDLE_CHECKPOINT_MS: '100' } });
    stage.keepalive(500);
    await waitFor('the acknowledgement', () => stage.stream.acknowledged.includes(500n));
    expect(stage.effects.at(-1)).toBe('acknowledge 500 after 1 commits');
    expect(stage.checkpoints()).toMatchObject([{ throughLsn: 500n, lastPublished: null }]);
    await delay(250);
    expect(stage.kafka.committed.length).toBe(1); // nothing new, nothing written
  });

  it('records at once what an answer is wanted for, and only then', async () => {
    const stage = await streaming();
    stage.keepalive(400);
    await delay(50);
    expect(stage.kafka.committed.length).toBe(0);
    stage.keepalive(500, true);
    await waitFor('the acknowledgement', () => stage.stream.acknowledged.includes(500n));
    stage.keepalive(500, true); // asked again: there is nothing to record
    stage.keepalive(600);
    await delay(50);
    expect(stage.checkpoints().map(({ throughLsn }) => throughLsn)).toEqual([500n]);
  });

  it('takes no keepalive for progress that comes inside a transaction, or while something is in flight', async () => {
    const stage = await streaming();
    stage.begin(550);
    stage.order();
    stage.keepalive(600, true);
    await delay(50);
    expect(stage.kafka.committed.length).toBe(0);
    const release = stage.kafka.holdCommits();
    stage.commit(550, 570);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    stage.keepalive(600, true);
    release();
    await committed(stage, 1);
    await delay(50);
    expect(stage.checkpoints().map(({ throughLsn }) => throughLsn)).toEqual([570n]);
    stage.keepalive(600, true); // as a server that waits asks again
    await committed(stage, 2);
    expect(stage.checkpoints().at(-1)).toMatchObject({ throughLsn: 600n });
  });

  it('keeps a partial checkpoint over idle progress, and publishes only the rest', async () => {
    const hash = hashOrderIds();
    for (const n of [0, 1]) addOrderId(hash, uuid(n));
    const partial = { commitLsn: at(900), ordinal: 1 };
    const lastPublished = { ...partial, orderId: uuid(1), ordersHash: hash.digest('hex') };
    const stage = await streaming({ checkpoint: { partial, lastPublished } });
    stage.keepalive(500, true);
    await committed(stage, 1);
    stage.transaction(900, 920, 4);
    await committed(stage, 2);
    expect(stage.positions()).toEqual([[], ['900:2', '900:3']]);
    expect(stage.checkpoints().at(-1)).toMatchObject({ throughLsn: 920n, partial: null });
  });

  it('pauses the stream while two groups wait behind the one in flight, and reads on when there is room', async () => {
    const stage = await streaming({ env: { GROUP_MAX_ORDERS: '1' } });
    const release = stage.kafka.holdCommits();
    stage.transaction(100, 110);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    for (const lsn of [120, 130]) stage.transaction(lsn, lsn + 5);
    expect(stage.stream.isPaused).toBe(false);
    stage.transaction(140, 145);
    expect(stage.stream.isPaused).toBe(true);
    expect(await stage.metric('tillstream_reader_in_flight_bytes')).toBeGreaterThan(0);
    release();
    await committed(stage, 4);
    expect(stage.stream.isPaused).toBe(false);
    expect(stage.positions()).toEqual([['100:0'], ['120:0'], ['130:0'], ['140:0']]);
    await waitFor(
      'nothing to be in flight',
      async () => (await stage.metric('tillstream_reader_in_flight_bytes')) === 0,
    );
  });

  it('pauses for a transaction above the bounds, and reads on while it is published', async () => {
    const stage = await streaming({ env: { GROUP_MAX_BYTES: '1024', GROUP_MAX_ORDERS: '10' } });
    const release = stage.kafka.holdCommits();
    stage.transaction(100, 110, 50);
    expect(stage.stream.isPaused).toBe(true);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    expect(stage.stream.isPaused).toBe(false);
    release();
    await committed(stage, 1);
    expect(stage.positions()[0]).toHaveLength(50);
  });

  it('tells the age of the oldest commit that waits, and the lag behind the server', async () => {
    const stage = createStage({ nowMs: 60_000 });
    stage.run();
    await waitFor('the stream to be read', () => !stage.stream.isPaused);
    expect(await stage.metric('tillstream_reader_through_lsn')).toBe(10);
    stage.describeTables();
    const release = stage.kafka.holdCommits();
    stage.begin(100, 48_000_000n);
    stage.order();
    stage.commit(100, 120);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    stage.begin(130, 59_000_000n);
    stage.order();
    stage.commit(130, 140);
    stage.keepalive(150);
    expect(await stage.metric('tillstream_reader_lag_seconds')).toBe(12);
    expect(await stage.metric('tillstream_reader_lag_bytes')).toBe(140);
    release();
    await committed(stage, 2);
    await waitFor('no lag', async () => (await stage.metric('tillstream_reader_lag_seconds')) === 0);
    expect(await stage.metric('tillstream_reader_lag_bytes')).toBe(10); // from 140 to 150: idle progress not yet due
  });

  it('ends with the failure of a commit, acknowledges nothing of it and leaves the stream paused', async () => {
    const stage = await streaming();
    stage.keepalive(10);
    await waitFor('the first acknowledgement', () => stage.effects.length === 1);
    stage.kafka.fail(new Error('Kafka is away'));
    stage.transaction(100, 120);
    await expect(stage.running).rejects.toThrow('Kafka is away');
    expect(stage.stream).toMatchObject({ isPaused: true, acknowledged: [10n] });
    stage.transaction(200, 220); // nobody listens any more
    expect(stage.kafka.committed).toEqual([]);
  });

  it('ends with what a message was refused for, before anything of it is published', async () => {
    const stage = await streaming();
    stage.begin(100);
    stage.bring(insertOf(9, tupleOf(['x'])));
    await expect(stage.running).rejects.toMatchObject({ code: 'STREAM_OUT_OF_ORDER' });
    expect(stage.kafka.committed).toEqual([]);
  });

  it('ends when the publication was changed, and publishes nothing that came behind the change', async () => {
    const stage = await streaming();
    stage.keepalive(10);
    await waitFor('the first acknowledgement', () => stage.effects.length === 1);
    stage.found = exampleCapture({ publication: null });
    stage.transaction(100, 120);
    const published = stage.kafka.committed.length;
    await expect(stage.running).rejects.toMatchObject({ code: 'PUBLICATION_CHANGED' });
    expect(stage.kafka.committed).toHaveLength(published);
    expect(stage.stream.acknowledged).toEqual([10n]);
  });

  it('goes on under another owner of the publication, and records it with the next checkpoint', async () => {
    const stage = await streaming();
    const owned = exampleCapture({ publication: { ...exampleCapture().publication!, owner: 11, xmin: '900' } });
    stage.transaction(100, 120);
    await committed(stage, 1);
    stage.found = owned;
    stage.transaction(130, 140);
    await committed(stage, 2);
    stage.transaction(150, 160);
    await committed(stage, 3);
    const captures = stage.checkpoints().map(({ capture }) => capture);
    expect([captures[0], captures[2]]).toEqual([exampleCapture(), owned]);
    await waitFor('the acknowledgement', () => stage.stream.acknowledged.at(-1) === 160n);
  });

  it('publishes nothing more once its start has failed, even if the commit in flight then succeeds', async () => {
    const stage = await streaming({ env: { GROUP_MAX_ORDERS: '1', IDLE_CHECKPOINT_MS: '100' } });
    const release = stage.kafka.holdCommits();
    stage.keepalive(50);
    stage.transaction(100, 110);
    stage.transaction(120, 130);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    stage.scope.fail(new Error('the stream is lost'));
    await expect(stage.running).rejects.toThrow('the stream is lost');
    release();
    await committed(stage, 1);
    await delay(250); // two idle intervals, in which a loop that lived on would do something
    expect(stage.positions()).toEqual([['100:0']]);
    expect(stage.stream.isPaused).toBe(true);
  });

  it('records no progress once its start has failed: another reader may have the slot by then', async () => {
    const stage = await streaming({ env: { IDLE_CHECKPOINT_MS: '100' } });
    stage.keepalive(50);
    stage.scope.fail(new Error('the stream is lost'));
    await expect(stage.running).rejects.toThrow('the stream is lost');
    await delay(250); // two idle intervals
    expect(stage.kafka.committed).toEqual([]);
  });

  it.runIf(process.platform === 'linux')(
    'leaves no temporary file open when a huge transaction fails, whether in flight, waiting or half received',
    async () => {
      const directory = mkdtempSync(join(tmpdir(), 'tillstream-reader-'));
      const env = { GROUP_MAX_BYTES: '1024', SPILL_BYTES: '1024', SPILL_DIRECTORY: directory };
      const stage = await streaming({ env });
      const release = stage.kafka.holdCommits();
      stage.transaction(100, 110, 50);
      await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
      stage.transaction(120, 130, 50);
      stage.begin(140);
      for (let n = 0; n < 50; n++) stage.order();
      expect(openFiles(directory)).toBe(3);
      stage.scope.fail(new Error('the stream is lost'));
      await expect(stage.running).rejects.toThrow('the stream is lost');
      stage.kafka.fail(new Error('the producer is closed'));
      release();
      await waitFor('the files to be closed', () => openFiles(directory) === 0);
      rmSync(directory, { recursive: true });
    },
  );

  it('publishes a transaction that went through a temporary file although it is within the bounds of a group', async () => {
    const stage = await streaming({ env: { SPILL_BYTES: '1024' } });
    stage.transaction(100, 110, 50);
    await committed(stage, 1);
    stage.transaction(120, 130);
    await committed(stage, 2);
    expect(stage.positions()[1]).toEqual(['120:0']);
  });

  it('publishes and acknowledges what it has when it is stopped', async () => {
    const stage = await streaming({ env: { GROUP_MAX_ORDERS: '1' } });
    const release = stage.kafka.holdCommits();
    for (const lsn of [100, 120]) stage.transaction(lsn, lsn + 10);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    stage.stop.abort();
    expect(stage.stream).toMatchObject({ isPaused: true, resumes: 2 });
    release();
    await stage.running;
    expect(stage.positions()).toEqual([['100:0'], ['120:0']]);
    expect(stage.stream.acknowledged.at(-1)).toBe(130n);
    expect(stage.stream).toMatchObject({ isPaused: true, resumes: 2 });
  });

  it('ends a stop although orders never cease to come', async () => {
    const stage = await streaming({ env: { GROUP_MAX_ORDERS: '1' } });
    let lsn = 100;
    const load = setInterval(() => {
      for (let n = 0; n < 5 && !stage.stream.isPaused; n++, lsn += 10) stage.transaction(lsn, lsn + 5);
    }, 1);
    try {
      await committed(stage, 5);
      stage.stop.abort();
      const received = lsn;
      await Promise.race([stage.running, delay(5_000).then(() => Promise.reject(new Error('it still runs')))]);
      expect(lsn).toBe(received);
    } finally {
      clearInterval(load);
    }
  });

  it('gives a stop up whose commit is never answered', async () => {
    const stage = await streaming({}, { drainLimitMs: 100 });
    stage.kafka.holdCommits();
    stage.transaction(100, 120);
    await waitFor('the commit', () => stage.kafka.heldCommits() === 1);
    stage.stop.abort();
    await expect(stage.running).rejects.toMatchObject({ code: 'DRAIN_ABANDONED' });
    expect(stage.scope.signal.aborted).toBe(true);
  });

  it('ends at once when it was stopped before it began', async () => {
    const stage = createStage();
    stage.stop.abort();
    await stage.run();
    await turn();
    expect(stage.stream.isPaused).toBe(true);
    expect(stage.kafka.committed).toEqual([]);
  });
});
