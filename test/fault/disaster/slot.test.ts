// The slot is lost while orders are being placed: halt → adopt → the reader goes on with a new slot → a replay closes the
// gap → the databases agree.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDisasterStage, type DisasterStage, slow } from '../../support/stack/disaster-stage.ts';
import { waitFor } from '../../support/wait.ts';

describe('a lost slot', { timeout: 300_000 }, () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('lost_slot');
  });
  afterEach(() => stage.cleanUp());

  it.each<[string, Record<string, string>, RegExp]>([
    ['the tables', { REPLAY_WINDOW_BYTES: '0' }, /npm run replay -- --source tables/],
    ['the WAL, where a window of it was kept', {}, /npm run replay -- --from-lsn .*/],
  ])('costs no order: adopt accepts the gap, a replay from %s closes it', async (_, window, command) => {
    const { SLOT_NAME } = stage.environment.env;
    await stage.startSink();
    const first = await stage.startStreaming({ more: window });
    const traffic = stage.startTraffic();
    await waitFor('some orders', async () => (await stage.carts('SELECT FROM applied_orders')).length > 60, slow);
    await first.stop();
    await waitFor('the slot to be free', () =>
      stage.orders(`SELECT pg_drop_replication_slot('${SLOT_NAME}')`).then(() => true),
    );
    const halted = await stage.startReader();
    const { msg } = await stage.waitHalted(halted, 'SLOT_DROPPED');
    expect(msg).toContain('npm run adopt -- reader');

    const adopted = await stage.run('adopt', ['reader', '--yes']);
    expect(adopted.stdout).toContain('SLOT_DROPPED');
    await halted.stop();
    await stage.startStreaming({ more: window });
    const differs = await stage.run('audit', ['--limit', '3'], { code: 1 });
    expect(differs.stdout).toMatch(/^missing +[1-9]/m);
    expect(differs.stdout).toMatch(command);

    await stage.run('replay', [...stage.replayCommand(adopted, command), '--yes']);
    await stage.run('audit', []);
    await traffic.stop();
    await stage.requireWhole();
  });
});
