// What ops/grafana/tillstream.json asks Prometheus for, and what ops/prometheus/alerts.yaml does, by their text.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const ops = join(import.meta.dirname, '..', '..', '..', 'ops');
const alertsFile = join(ops, 'prometheus', 'alerts.yaml');

interface Target {
  readonly expr: string;
}
interface Panel {
  readonly id: number;
  readonly title: string;
  readonly type: string;
  readonly targets?: readonly Target[];
  readonly gridPos: { readonly x: number; readonly w: number };
}
interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}

export function readDashboard(): Dashboard {
  return JSON.parse(readFileSync(join(ops, 'grafana', 'tillstream.json'), 'utf8'));
}

/** Of all panels, with Grafana's variables filled in. */
export function readExpressions(): readonly string[] {
  return readDashboard()
    .panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
    .map((expr) => expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$(job|slot)/g, '.+'));
}

interface Alert {
  readonly name: string;
  readonly text: string;
}

export function readAlerts(): readonly Alert[] {
  const [, ...found] = readFileSync(alertsFile, 'utf8').split('\n      - alert: ');
  return found.map((text) => ({ name: text.split('\n')[0]!, text }));
}

/** The names of our metrics in a text; `_bucket` and the like belong to their histogram. */
export function namesIn(text: string): string[] {
  const found = [...text.matchAll(/\b(?:tillstream|process|nodejs)_[a-z0-9_]+/g)].map(([name]) => name);
  return [...new Set(found.map((name) => name.replace(/_(bucket|sum|count)$/, '')))];
}
