import { expect, test } from 'vitest';
import { createHaltState, HaltError } from '#service/halt.ts';
import { createMetrics } from '#service/metrics.ts';
import { createLogLines } from '../../support/process/log-lines.ts';

test('every series is named tillstream_…, the ones of the process too', async () => {
  const metrics = createMetrics('test');
  metrics.counter('tillstream_things_total', 'Things', ['kind']).inc({ kind: 'a' }, 2);
  metrics.gauge('tillstream_level', 'Level').set(5);
  metrics.histogram('tillstream_wait_seconds', 'Wait', [], [1, 2]).observe(1.5);
  const series = (await metrics.render()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  expect(series.filter((line) => !line.startsWith('tillstream_'))).toEqual([]);
  expect(series).toEqual(
    expect.arrayContaining([
      'tillstream_things_total{kind="a"} 2',
      'tillstream_level 5',
      'tillstream_wait_seconds_bucket{le="2"} 1',
      'tillstream_service_info{service="test"} 1',
    ]),
  );
  expect(series.some((line) => line.startsWith('tillstream_process_resident_memory_bytes '))).toBe(true);
});

test('another prefix is refused', () => {
  expect(() => createMetrics('test').counter('orders_total', '')).toThrow('must start with tillstream_');
});

test('two services in one process do not share series', async () => {
  const [a, b] = [createMetrics('a'), createMetrics('b')];
  a.counter('tillstream_things_total', 'Things').inc();
  b.counter('tillstream_things_total', 'Things');
  expect(await b.render()).toContain('tillstream_things_total 0');
});

class SlotLostError extends HaltError {
  readonly code = 'SLOT_LOST';
}

test('the first halt is kept, shown in the metrics and logged once; later ones change nothing', async () => {
  const metrics = createMetrics('test');
  const { logger, lines } = createLogLines();
  const state = createHaltState(metrics, logger);
  expect(state.current()).toBeUndefined();
  expect(await metrics.render()).not.toContain('tillstream_halted{');

  const cause = new Error('first cause');
  state.halt(new SlotLostError('the slot is gone: run adopt', { throughLsn: '0/A' }, { cause }));
  state.halt(new SlotLostError('again'));

  const halt = { code: 'SLOT_LOST', message: 'the slot is gone: run adopt', details: { throughLsn: '0/A' } };
  expect(state.current()).toEqual(halt);
  expect(await metrics.render()).toContain('tillstream_halted{code="SLOT_LOST"} 1\n');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({
    event: 'pipeline.halted',
    level: 'error',
    code: 'SLOT_LOST',
    msg: halt.message,
    details: halt.details,
    err: { type: 'SlotLostError', cause: { message: 'first cause' } },
  });
});
