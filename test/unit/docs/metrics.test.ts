// The tables of docs/metrics.md against the metrics that the services register: same names, labels, types and meanings, none left
// out. When one fails, paste what it expected into the page.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type KnownMetric, listMetrics } from '../../support/examples/all-metrics.ts';

const repository = join(import.meta.dirname, '..', '..', '..');
const page = readFileSync(join(repository, 'docs', 'metrics.md'), 'utf8');
let metrics: ReadonlyMap<string, readonly KnownMetric[]>;
beforeAll(async () => {
  metrics = await listMetrics();
});

/** By the end of the name, as Prometheus's conventions have it, and for gauges that are 0 or 1 by their meaning. */
function unitOf({ name, help, type }: KnownMetric): string {
  const units: readonly (readonly [RegExp, string])[] = [
    [/_at_seconds$|_since_seconds$/, 'seconds since 1970'],
    [/_seconds$|_seconds_left$/, 'seconds'],
    [/_bytes$/, 'bytes'],
    [/_lsn$/, 'WAL position'],
    [/_offset$/, 'offset'],
    [/_days_left$/, 'days'],
    [/_age$/, 'transactions'],
    [/_per_second$/, 'orders a second'],
  ];
  const byName = units.find(([pattern]) => pattern.test(name));
  if (byName !== undefined) return byName[1];
  return type === 'gauge' && /^(1 |Always 1|Whether)/.test(help) ? '0 or 1' : 'count';
}

function formatRow(metric: KnownMetric): string {
  const { name, labels, type, help } = metric;
  return `| \`${name}${labels.length === 0 ? '' : `{${labels.join(',')}}`}\` | ${type} | ${unitOf(metric)} | ${help} |`;
}

function readRows(section: string): string[] {
  const [, text = ''] = page.split(`\n## ${section}\n`);
  return text
    .split('\n## ')[0]!
    .split('\n')
    .filter((line) => line.startsWith('| `'));
}

describe('docs/metrics.md lists every metric, with type, unit and meaning,', () => {
  it.each(['all services', 'order-api', 'cdc-reader', 'cart-sink'])('of %s', (service) => {
    const expected = metrics.get(service)!.map(formatRow);
    expect(expected.length).toBeGreaterThan(3);
    expect(readRows(service), `Under "## ${service}" there should be:\n${expected.join('\n')}\n`).toEqual(expected);
  });

  it('and no service has a metric that is not known here', () => {
    const known = new Set([...metrics.values()].flat().map(({ name }) => name));
    const sources = globSync('{order-api,cdc-reader,cart-sink,kafka,service}/**/*.ts', { cwd: repository });
    const named = sources.flatMap((path) => [
      ...readFileSync(join(repository, path), 'utf8').matchAll(/'(tillstream_[a-z_]+)'/g),
    ]);
    const names = named
      .map(([, name]) => name!)
      .filter((name) => !['tillstream_', 'tillstream_migrations'].includes(name));
    expect(names.length).toBeGreaterThan(40);
    expect(names.filter((name) => !known.has(name))).toEqual([]);
  });
});
