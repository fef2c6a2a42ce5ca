// `npm run test:alerts`: Prometheus itself checks the rules, the expressions of the dashboard, and which alerts fire when
// (ops/prometheus/alerts.test.yaml). It needs promtool, which Debian has in the package prometheus.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { readExpressions } from '../support/examples/dashboard.ts';

const rules = join(import.meta.dirname, '..', '..', 'ops', 'prometheus');

async function promtool(...args: string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)('promtool', args).catch((error) => {
    if (error.code === 'ENOENT') {
      throw new Error('promtool is missing: install it (Debian: apt-get install prometheus), then npm run test:alerts');
    }
    throw new Error(`promtool ${args.join(' ')}:\n${error.stdout}${error.stderr}`);
  });
  return stdout + stderr;
}

beforeAll(async () => {
  await promtool('--version');
});

it('the alerts are rules', async () => {
  expect(await promtool('check', 'rules', '--lint-fatal', join(rules, 'alerts.yaml'))).toContain('SUCCESS');
});

it('each alert fires where it must, and none on a pipeline in order', async () => {
  expect(await promtool('test', 'rules', join(rules, 'alerts.test.yaml'))).toContain('SUCCESS');
});

it('the expressions of the dashboard are PromQL', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tillstream-alerts-'));
  try {
    const path = join(directory, 'dashboard.yaml');
    const records = readExpressions().map((expr, index) => ({ record: `panel:${index}`, expr }));
    expect(records.length).toBeGreaterThan(30);
    writeFileSync(path, JSON.stringify({ groups: [{ name: 'dashboard', rules: records }] }));
    expect(await promtool('check', 'rules', path)).toContain(`${records.length} rules found`);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
