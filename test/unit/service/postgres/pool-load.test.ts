import { expect, it } from 'vitest';
import { createMetrics } from '#service/metrics.ts';
import { countLoans, reportPools } from '#service/postgres/pool-load.ts';

it('counts what is lent until it is given back, once, and who waits', async () => {
  const loans = countLoans();
  const metrics = createMetrics('test');
  reportPools(metrics, { carts: { load: () => ({ open: 3, inUse: loans.inUse(), waiting: loans.waiting() }) } });
  const given: string[] = [];
  const create = () => ({ release: () => given.push('released'), dispose: () => given.push('disposed') });
  const { promise, resolve, reject } = Promise.withResolvers<ReturnType<typeof create>>();
  const series = async () =>
    [...(await metrics.render()).matchAll(/^tillstream_pool_\w+\{.*\} (\d+)$/gm)].map(([, value]) => Number(value));
  const first = await loans.lend(Promise.resolve(create()));
  const waiting = loans.lend(promise);
  expect(await series()).toEqual([1, 2, 1]);
  resolve(create());
  const second = await waiting;
  expect(await series()).toEqual([2, 1, 0]);
  first.release();
  second.dispose();
  second.dispose();
  expect(await series()).toEqual([0, 3, 0]);
  expect(given).toEqual(['released', 'disposed', 'disposed']);
  const failing = loans.lend(Promise.reject(new Error('late')));
  await expect(failing).rejects.toThrow('late');
  expect([loans.inUse(), loans.waiting()]).toEqual([0, 0]);
  reject(new Error('too late to matter'));
});
