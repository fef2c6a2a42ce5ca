// The carts database is restored from an older backup, while orders are being placed. Its offsets go back with it, so the
// sinks apply again what the backup lacks: nothing to run. Where Kafka has lost that range, they halt: adopt → replay.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withKafkaAdmin } from '../../support/kafka/admin.ts';
import { findRunId } from '../../support/process/tool-process.ts';
import { createDisasterStage, type DisasterStage, slow } from '../../support/stack/disaster-stage.ts';
import { withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

describe('a carts database restored from an older backup', { timeout: 300_000 }, () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('restored_carts');
  });
  afterEach(async () => {
    await onServer([`DROP DATABASE IF EXISTS ${carts()}_backup`]);
    await stage.cleanUp();
  });

  const carts = () => new URL(stage.environment.env.CART_DATABASE_URL).pathname.slice(1);
  const onServer = (statements: readonly string[]) =>
    withServer(stage.environment.servers.cartServerUrl, async (client) => {
      for (const statement of statements) await client.query(statement);
    });
  const ledgerSize = async () => (await stage.carts('SELECT FROM applied_orders')).length;
  const waitMore = async (count: number) => {
    const before = await ledgerSize();
    await waitFor(`${count} more orders`, async () => (await ledgerSize()) >= before + count, slow);
  };

  /** Applies, backs up, applies more, and comes back to the backup. Returns with no sink running. */
  const restore = async (): Promise<void> => {
    const first = await stage.startSink();
    await waitMore(60);
    await first.stop();
    await onServer([`CREATE DATABASE ${carts()}_backup TEMPLATE ${carts()}`]);
    const second = await stage.startSink();
    await waitMore(60);
    await second.stop();
    const before = await ledgerSize();
    await onServer([`DROP DATABASE ${carts()}`, `CREATE DATABASE ${carts()} TEMPLATE ${carts()}_backup`]);
    expect(await ledgerSize()).toBeLessThanOrEqual(before - 60);
  };

  it('is caught up from Kafka with nothing to run', async () => {
    await stage.startStreaming();
    const traffic = stage.startTraffic();
    await restore();
    await stage.startSink();
    await traffic.stop();
    await stage.requireWhole();
    const nothing = await stage.run('adopt', ['sink', '--yes'], { code: 1 });
    expect(nothing.stderr).toContain('nothing wrong is found');
  });

  it('holds a replay run that it does not know any more, by name, until the run is passed over', async () => {
    await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 60 });
    const first = await stage.startSink();
    await stage.waitApplied();
    await first.stop();
    await onServer([`CREATE DATABASE ${carts()}_backup TEMPLATE ${carts()}`]);
    const second = await stage.startSink();
    const replay = ['--from-lsn', '0/0', '--yes'];
    const runId = findRunId((await stage.run('replay', replay)).stdout);
    await second.stop();
    await onServer([`DROP DATABASE ${carts()}`, `CREATE DATABASE ${carts()} TEMPLATE ${carts()}_backup`]);

    const sink = await stage.startSink();
    const held = await sink.waitForLog('sink.replay-held', { deadlineMs: 30_000 });
    expect(held).toMatchObject({ runId, why: 'unknown-run' });
    expect(held.msg).toContain(`npm run replay -- pass-over ${runId}`);
    await stage.load.backlog({ first: 60, count: 20 }); // the live topic goes on
    await stage.waitApplied();
    const behind = await stage.run('replay', replay, { code: 75 });
    expect(behind.stderr).toContain(`npm run replay -- pass-over ${runId}`);
    expect(await stage.carts('SELECT FROM replay_runs')).toEqual([]);

    const asked = await stage.run('replay', ['pass-over', runId], { code: 64 });
    expect(asked.stderr).toContain('--yes');
    expect(await stage.carts('SELECT FROM replay_runs')).toEqual([]);
    const unknown = await stage.run('replay', ['pass-over', runId.replaceAll(/[0-9]/g, '0'), '--yes'], { code: 64 });
    expect(unknown.stderr).toContain('holds no progress of a run');
    await stage.run('replay', ['pass-over', runId, '--yes']);
    const again = await stage.run('replay', ['pass-over', runId, '--yes'], { code: 64 });
    expect(again.stderr).toContain('this carts database knows run');
    await stage.run('replay', replay);
    expect(await stage.carts(`SELECT FROM replay_results WHERE run_id = '${runId}'`)).toEqual([]);
    await stage.requireWhole();
  });

  it('is caught up by adopt and a replay where Kafka has lost the range', async () => {
    const { ORDERS_TOPIC } = stage.environment.env;
    await stage.startStreaming();
    const traffic = stage.startTraffic();
    await restore();
    await withKafkaAdmin(stage.environment.servers.directBrokers, async (admin) => {
      const partitions = (await admin.fetchTopicOffsets(ORDERS_TOPIC)).map(({ partition, high }) => {
        return { partition, offset: high };
      });
      await admin.deleteTopicRecords({ topic: ORDERS_TOPIC, partitions });
    });
    const halted = await stage.startHaltingSink();
    const { msg } = await stage.waitHalted(halted, 'RECORDS_LOST');
    expect(msg).toContain('npm run adopt -- sink');

    const refused = await stage.run('adopt', ['sink'], { code: 64 });
    expect(refused.stdout).toContain('RECORDS_LOST');
    expect(refused.stderr).toContain('--yes');
    const adopted = await stage.run('adopt', ['sink', '--yes']);
    await halted.stop();
    await stage.startSink();
    await stage.run('audit', ['--limit', '0'], { code: 1 });
    await stage.run('replay', [...stage.replayCommand(adopted), '--yes']);
    await traffic.stop();
    await stage.requireWhole();
  });
});
