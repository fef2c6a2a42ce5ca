// ops/prometheus and ops/grafana against what the services export and the pages say: every metric that they name is known, every
// alert has its section in docs/operations.md and a case that makes it fire. That they are PromQL: npm run test:alerts.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { listMetrics } from '../../support/examples/all-metrics.ts';
import { namesIn, readAlerts, readDashboard, readExpressions } from '../../support/examples/dashboard.ts';

const repository = join(import.meta.dirname, '..', '..', '..');
const read = (path: string) => readFileSync(join(repository, path), 'utf8');
const alerts = readAlerts();

async function unknownIn(texts: readonly string[]): Promise<string[]> {
  const known = new Set([...(await listMetrics()).values()].flat().map(({ name }) => name));
  return namesIn(texts.join('\n')).filter((name) => name.startsWith('tillstream_') && !known.has(name));
}

describe('an alert', () => {
  it('names metrics that are exported, and has a severity', async () => {
    expect(alerts.length).toBeGreaterThan(20);
    expect(await unknownIn(alerts.map(({ text }) => text))).toEqual([]);
    expect(alerts.filter(({ text }) => !/severity: (critical|warning) /.test(text))).toEqual([]);
  });

  it('links to a section of docs/operations.md that is there', () => {
    const headings = [...read('docs/operations.md').matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!.toLowerCase(),
    );
    const anchors = headings.map((heading) => heading.replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'));
    const broken = alerts.filter(({ text }) => {
      const [, anchor] = /runbook: docs\/operations\.md#([\w-]+)$/m.exec(text) ?? [];
      return anchor === undefined || !anchors.includes(anchor);
    });
    expect(broken.map(({ name }) => name)).toEqual([]);
  });

  it('has a case in which it fires, and one in which it does not', () => {
    const cases = read('ops/prometheus/alerts.test.yaml');
    const missing = alerts.filter(({ name }) => {
      const found = cases.split(`alertname: ${name}\n`).slice(1);
      const fires = found.some((one) => /^ +exp_alerts:\n/.test(one));
      return !fires || !found.some((one) => /^ +exp_alerts: \[\]\n/.test(one));
    });
    expect(missing.map(({ name }) => name)).toEqual([]);
  });
});

describe('the dashboard', () => {
  const { panels, templating } = readDashboard();

  it('names metrics that are exported, for the jobs and slots that are chosen', async () => {
    expect(
      await unknownIn([...readExpressions(), ...templating.list.map(({ definition = '' }) => definition)]),
    ).toEqual([]);
    expect(templating.list.map(({ name }) => name)).toEqual(['datasource', 'job', 'slot']);
    const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    expect(expressions.filter((expr) => !expr.includes('job=~"$job"'))).toEqual([]);
  });

  it('has panels with ids of their own, within its width', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(panels.filter(({ gridPos: { x, w } }) => x + w > 24)).toEqual([]);
    const rows = panels.filter(({ type }) => type === 'row').map(({ title }) => title);
    expect(rows).toEqual(['Verdict', 'Ladder', 'Safety', 'Proof', 'Partitions', 'Processes']);
  });
});
