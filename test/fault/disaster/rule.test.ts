// A wrong rule was deployed for an hour: a sink that took double of what was ordered. The right sink comes back, and a
// reapply from the hour's first position gives back what was taken in excess: carts are what the right rule leaves.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDisasterStage, type DisasterStage, slow } from '../../support/stack/disaster-stage.ts';
import { waitFor } from '../../support/wait.ts';

describe('a wrong rule', { timeout: 300_000 }, () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('wrong_rule');
  });
  afterEach(() => stage.cleanUp());

  const ledgerSize = async () => (await stage.carts('SELECT FROM applied_orders')).length;
  const waitMore = async (count: number) => {
    const before = await ledgerSize();
    await waitFor(`${count} more orders`, async () => (await ledgerSize()) >= before + count, slow);
  };
  const readLines = () => stage.carts('SELECT line_id, user_id, sku, quantity FROM cart_lines ORDER BY user_id, sku');

  it('is undone by a reapply from its first position, with traffic', async () => {
    await stage.startStreaming();
    const first = await stage.startSink();
    const traffic = stage.startTraffic();
    await waitMore(40);
    await first.stop();
    const wrong = await stage.startSink({ wrongRule: true });
    await waitMore(80);
    await wrong.stop();
    const right = await stage.startSink();
    await waitMore(40);

    const differs = await stage.run('audit', ['--limit', '1'], { code: 1 });
    expect(differs.stdout).toMatch(/^missing +0 .*\nphantom +0 .*\ndiffering +[1-9]/m);
    expect(differs.stdout).toMatch(/^ {2}removed-out-of-range: [1-9]\d*\n(?! )/m);
    const [hour] = await stage.carts(
      'SELECT min(commit_lsn)::text AS first_lsn FROM applied_orders WHERE rule_version = 0',
    );
    await stage.run('replay', ['--from-lsn', String(hour!.first_lsn), '--mode', 'reapply', '--yes']);
    await traffic.stop();
    await stage.requireWhole();
    expect(right.exitCode).toBeUndefined();

    // What the right rule leaves: the opening stock less what was ordered, line by line.
    const after = await readLines();
    expect(after.length).toBeGreaterThan(0);
    const lines = new Map(after.map((line) => [`${line.user_id} ${line.sku}`, Number(line.quantity)]));
    const ordered = await stage.orders(
      'SELECT user_id, sku, sum(quantity)::int AS quantity FROM orders JOIN order_items USING (order_id) GROUP BY 1, 2',
    );
    const opening = await stage.carts('SELECT user_id, sku, quantity FROM stage_lines');
    const taken = new Map(ordered.map((row) => [`${row.user_id} ${row.sku}`, Number(row.quantity)]));
    const left = opening
      .map((row) => {
        const key = `${row.user_id} ${row.sku}`;
        return [key, Number(row.quantity) - (taken.get(key) ?? 0)] as const;
      })
      .filter(([, quantity]) => quantity > 0);
    expect(lines).toEqual(new Map(left));
  });
});
