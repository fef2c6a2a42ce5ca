// A reader of this version takes over from the last one that knew the publication only (checkpoint version 1), with data
// and without a step, and the other way round nothing is lost: the old one halts and says to run the newer reader. The old
// services are built from git, so the test needs the history.
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readTopic } from '../support/oracle/read-topic.ts';
import { buildOldServices, type OldServices } from '../support/process/old-services.ts';
import type { Service } from '../support/process/service-process.ts';
import {
  type CaptureStage,
  createCaptureStage,
  requireNothingBehind,
  requireTablesChanged,
  requireUndisturbed,
} from '../support/stack/capture-stage.ts';
import { readHalt } from '../support/stack/require-halted.ts';
import { captureChanges } from '../support/stack/table-changes.ts';
import { waitFor } from '../support/wait.ts';

const times = { WAL_SENDER_TIMEOUT_MS: '2000', TRANSACTION_TIMEOUT_MS: '5000', IDLE_CHECKPOINT_MS: '500' };

describe('a reader that takes over from one of checkpoint version 1', () => {
  let stage: CaptureStage;
  let folder: string;
  let old: OldServices;
  beforeAll(async () => {
    ({ folder, old } = await buildOldServices());
  });
  beforeEach(async () => {
    stage = await createCaptureStage('upgrade_checkpoint');
  });
  afterEach(() => stage.cleanUp());

  const startOld = (): Promise<Service> => stage.environment.startService('cdc-reader', times, old('cdc-reader'));
  const startOldStreaming = async (): Promise<Service> => {
    const older = await startOld();
    await older.waitForLog('reader.streaming', { deadlineMs: 30_000 });
    return older;
  };
  const publishByOld = async (): Promise<Service> => {
    const older = await startOldStreaming();
    await stage.load.backlog({ first: 0, count: 40 });
    await stage.requireClean();
    expect(await readVersions()).toEqual(new Set([1]));
    return older;
  };
  const readCheckpoints = async (): Promise<{ version: number }[]> => {
    const { env, servers } = stage.environment;
    const brokers = servers.directBrokers.split(',');
    const partitions = await readTopic({ brokers, topic: env.CHECKPOINT_TOPIC, deadlineMs: 30_000 });
    return partitions
      .flatMap(({ records }) => records.filter(({ outcome }) => outcome === 'committed'))
      .flatMap(({ value }) => (value === null ? [] : JSON.parse(value.toString('utf8'))));
  };
  const readVersions = async () => new Set((await readCheckpoints()).map(({ version }) => version));
  const waitForVersion2 = () =>
    waitFor('a checkpoint of version 2', async () => (await readCheckpoints()).at(-1)?.version === 2, {
      deadlineMs: 30_000,
    });

  it('goes on from its checkpoint without a step, and writes it anew', async () => {
    await (await publishByOld()).stop();
    await stage.load.backlog({ first: 40, count: 40 });
    const reader = await stage.startStreaming();
    await stage.load.backlog({ first: 80, count: 40 });
    await stage.requireClean();
    await waitForVersion2();
    requireUndisturbed(reader);
    await reader.stop();
    const again = await stage.startStreaming();
    await stage.load.backlog({ first: 120, count: 40 });
    await stage.requireClean();
    requireUndisturbed(again);
  });

  it('writes the checkpoint anew although no order comes, so that it is protected from then on', async () => {
    await (await publishByOld()).stop();
    await stage.startStreaming();
    await waitForVersion2();
  });

  it('takes over from one that is killed amid traffic', async () => {
    const older = await publishByOld();
    const traffic = stage.startTraffic();
    await traffic.more(100);
    const standby = await stage.startReader();
    await standby.waitForLog('reader.standby', { deadlineMs: 30_000 });
    await traffic.more(50);
    await older.kill();
    await standby.waitForLog('reader.streaming', { deadlineMs: 60_000 });
    await traffic.more(50);
    await traffic.stop();
    await stage.requireClean();
  });

  it('is a standby beside it, takes over, and goes on when the old one has halted at a takeover back', async () => {
    const older = await publishByOld();
    const traffic = stage.startTraffic();
    const reader = await stage.startReader();
    await reader.waitForLog('reader.standby', { deadlineMs: 30_000 });
    await traffic.more(50);
    await older.stop();
    await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
    await traffic.more(50);
    await waitForVersion2();

    const oldAgain = await startOld();
    await oldAgain.waitForLog('reader.standby', { deadlineMs: 30_000 });
    await traffic.more(50);
    await reader.stop();
    const { message } = await readHalt(oldAgain, 'CHECKPOINT_UNREADABLE', { isOld: true });
    expect(message).toMatch(/run the newer reader/);
    await traffic.more(50);

    await stage.startStreaming();
    await traffic.more(50);
    await traffic.stop();
    await stage.requireClean();
  });

  it('finishes a first start that an old one was killed in', async () => {
    await stage.load.backlog({ first: 0, count: 2_500 });
    const older = await stage.environment.startService(
      'cdc-reader',
      { ...times, TILLSTREAM_FAILPOINTS: 'reader.snapshot-published=kill:2' },
      old('cdc-reader', { nodeArgs: ['--import', join(folder, 'test', 'support', 'failpoints.ts')] }),
    );
    expect((await older.exited).signal).toBe('SIGKILL');
    await stage.startStreaming();
    await stage.load.backlog({ first: 2_500, count: 20 });
    await stage.requireClean();
  });

  it.each(
    captureChanges
      .filter(({ name }) => /swapped|with (a view|views) of|schema is renamed|made anew/.test(name))
      .map((one) => [one.name, one] as const),
  )('halts when, before the upgrade and while nobody ran, %s', async (_, { there }) => {
    await (await publishByOld()).stop();
    const changedLsn = await stage.walEnd();
    await stage.run(there);
    const endLsn = await stage.walEnd();
    await stage.load.backlog({ first: 100, count: 5 });
    const reader = await stage.startReader();
    await requireTablesChanged(reader, /orders/);
    expect(await requireNothingBehind(stage, changedLsn, endLsn)).toBe(40);
  });

  it('halts when the publication was altered before the upgrade', async () => {
    await (await publishByOld()).stop();
    await stage.createPublication('FOR TABLE orders, order_items');
    await stage.load.backlog({ first: 100, count: 5 });
    await readHalt(await stage.startReader(), 'PUBLICATION_CHANGED');
  });
});
