import { expect, test } from 'vitest';
import { createHaltState, HaltError } from '#service/halt.ts';
import { createMetrics } from '#service/metrics.ts';
import { createLogLines } from '../../support/process/log-lines.ts';

test('every series is named tillstream_…, but the standard ones of Node and the process, which have both names', async () => {
  const metrics = createMetrics('test');
  metrics.counter('tillstream_things_total', 'Things', ['kind']).inc({ kind: 'a' }, 2);
  metrics.gauge('tillstream_level', 'Level').set(5);
  metrics.histogram('tillstream_wait_seconds', 'Wait', [], [1, 2]).observe(1.5);
  const series = (await metrics.render()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  expect(series.filter((line) => !/^(tillstream|nodejs|process)_/.test(line))).toEqual([]);
  expect(series).toEqual(
    expect.arrayContaining([
      'tillstream_things_total{kind="a"} 2',
      'tillstream_level 5',
      'tillstream_wait_seconds_bucket{le="2"} 1',
      'tillstream_service_info{service="test"} 1',
    ]),
  );
  for (const name of ['tillstream_process_resident_memory_bytes ', 'process_resident_memory_bytes ']) {
    expect(series.some((line) => line.startsWith(name))).toBe(true);
  }
});

test('a state is read at each scrape, and has no series where it is unknown', async () => {
  const metrics = createMetrics('test');
  const state = { seconds: 1 as number | undefined };
  const read = () => (state.seconds === undefined ? [] : [[{ topic: 't' }, state.seconds] as const]);
  metrics.state('tillstream_lag_seconds', 'Lag', ['topic'], read);
  metrics.state('tillstream_bare', 'Bare', [], async () => {
    if (state.seconds === undefined) throw new Error('away');
    return [[{}, state.seconds]];
  });
  const series = async () => (await metrics.render()).split('\n').filter((line) => /^tillstream_(lag|bare)/.test(line));
  expect(await series()).toEqual(['tillstream_lag_seconds{topic="t"} 1', 'tillstream_bare 1']);
  state.seconds = undefined;
  expect(await series()).toEqual([]);
  state.seconds = 2;
  expect(await series()).toEqual(['tillstream_lag_seconds{topic="t"} 2', 'tillstream_bare 2']);
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
  expect(state.current()).toEqual({ ...halt, since: expect.stringMatching(/^20.*Z$/) });
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
