import { expect, it } from 'vitest';
import { createMetrics } from '#service/metrics.ts';
import { findValue, parsePrometheusText, sumValues } from '../../../../cdc-reader/status/prometheus-text.ts';

it('reads what our own services write, every series of it', async () => {
  const metrics = createMetrics('test');
  const gauge = metrics.gauge('tillstream_test', 'help', ['name']);
  gauge.set({ name: 'a "quoted" \\ name\nof two lines' }, 1.5);
  gauge.set({ name: 'other' }, -2);
  const samples = parsePrometheusText(await metrics.render());
  expect(findValue(samples, 'tillstream_test', { name: 'a "quoted" \\ name\nof two lines' })).toBe(1.5);
  expect(findValue(samples, 'tillstream_test', { name: 'absent' })).toBeUndefined();
  expect(sumValues(samples, 'tillstream_test')).toBe(-0.5);
  expect(sumValues(samples, 'tillstream_absent')).toBeUndefined();
});

it.each(['', '# HELP a b\n# TYPE a gauge', 'a', 'a NaN', 'a{b="c"', '{"json": true}'])(
  'finds nothing in %j',
  (text) => {
    expect(parsePrometheusText(text).size).toBe(0);
  },
);
