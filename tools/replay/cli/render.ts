// What the operator reads: plan, coverage, status and proof as lines of text. Pure.

import { formatLsn } from '#schemas/lsn.ts';
import type { PlannedPass, ReplayPlan, SurveyedOrder } from '#schemas/replay/plan.ts';
import { countPublished, type Progress } from '#schemas/replay/progress.ts';
import type { OrderPreview } from '../../../cart-sink/apply/preview-replay.ts';
import { formatRange } from '../../repairs.ts';
import type { RunRecord } from '../run/run-records.ts';
import type { Proof } from '../run/verdict.ts';
import { formatTime } from './parse-time.ts';

export function renderPlan(plan: ReplayPlan): string[] {
  const { survey, mode, ratePerSecond } = plan;
  return renderFields('Plan', [
    [
      'mode',
      mode === 'repair' ? 'repair: apply what the ledger lacks' : `reapply: recompute under rule ${plan.ruleVersion}`,
    ],
    ...renderRange(plan),
    ['source', `${plan.pass.source}, ${plan.why}`],
    ...(plan.users.length > 0 ? [['users', `${plan.users.length} named`] as const] : []),
    ...(plan.orderIds.length > 0 ? [['orders named', plan.orderIds.join(', ')] as const] : []),
    ['orders', formatCount(survey.orders)],
    ['would change', renderEffect(plan)],
    ...(survey.skipped > 0
      ? [['skipped', `${survey.skipped} records that can't be decoded; the sinks have parked them`] as const]
      : []),
    ['rate', ratePerSecond === null ? 'unlimited' : `${formatCount(ratePerSecond)} orders a second`],
  ]);
}

function renderEffect({ mode, survey: { unknown, changing, orders } }: ReplayPlan): string {
  const applied = `${formatCount(unknown)} that the ledger lacks would be applied`;
  if (mode === 'repair') return `${applied}, ${formatCount(orders - unknown)} are there already`;
  const same = orders - unknown - (changing ?? 0);
  return `${applied}, ${formatCount(changing ?? 0)} would change, ${formatCount(same)} stay as they are`;
}

function renderRange({ pass, isOpenEnded, mode, survey }: ReplayPlan): (readonly [string, string])[] {
  if (pass.range === null) return [['range', 'every order of the orders database, whatever its position']];
  const end = isOpenEnded ? 'what every sink has applied' : 'exclusive';
  const again = isOpenEnded && mode === 'reapply' ? '; then once more over what is applied live meanwhile' : '';
  return [
    ['range', `from ${formatLsn(pass.range.fromLsn)} to ${formatLsn(pass.range.toLsn)} (${end})${again}`],
    ['first order', renderOrder(survey.first)],
    ['last order', renderOrder(survey.last)],
  ];
}

function renderOrder(order: SurveyedOrder | null): string {
  return order === null ? 'none' : `${order.position}, committed ${formatTime(order.committedAt)}`;
}

/** One order of a dry run, with how its cart lines would change. */
export function renderPreview({ orderId, isNew, changes }: OrderPreview): string[] {
  const lines = changes.map(({ lineId, sku, quantity }) => {
    return `    ${sku} ${quantity > 0 ? '+' : ''}${quantity} (line ${lineId ?? 'new'})`;
  });
  return [
    `  order ${orderId}${isNew ? ', not in the ledger' : ''}${lines.length === 0 ? ': no cart line changes' : ':'}`,
    ...lines,
  ];
}

export function renderRun({ runId, state, plan, createdAt, finishedAt }: RunRecord): string[] {
  return renderFields(`Run ${runId}`, [
    ['state', state],
    ['begun', createdAt.toISOString()],
    ['ended', finishedAt?.toISOString() ?? 'not yet'],
    ['rule', String(plan.ruleVersion)],
  ]);
}

export function renderProgress(progress: Progress | null): string[] {
  if (progress === null) return renderFields('Progress', [['published', 'nothing yet']]);
  const { state, passNumber, pass, plan, skipped } = progress;
  return renderFields('Progress', [
    ['published', `${formatCount(countPublished(progress))} of ${formatCount(plan.survey.orders)} orders`],
    ['pass', `${passNumber}, ${renderPass(pass)}`],
    ['state', state === 'between' ? 'waiting for the sinks to apply the first pass' : state],
    ...(skipped > 0 ? [['skipped', `${skipped} records that can't be decoded`] as const] : []),
  ]);
}

function renderPass({ source, range }: PlannedPass): string {
  return range === null ? source : `${source} ${formatRange(range)}`;
}

/** Counts and both checksums of every partition, with the verdict; `verdict` replaces the proof's own. */
export function renderProof({ agrees, partitions }: Proof, verdict?: string): string[] {
  const head = [
    'partition',
    'published',
    'applied',
    'already',
    'changed',
    'parked',
    'checksum published',
    'checksum arrived',
    '',
  ];
  const rows = partitions.map(({ partition, published, result, problem }) => [
    String(partition),
    String(published.count),
    ...[result?.applied, result?.already, result?.changed, result?.parked].map((count) => String(count ?? 0n)),
    formatChecksum(published.checksum),
    formatChecksum(result?.checksum ?? 0n),
    problem ?? 'agrees',
  ]);
  const sum = (index: number) => String(rows.reduce((total, row) => total + BigInt(row[index]!), 0n));
  const all = ['all', sum(1), sum(2), sum(3), sum(4), sum(5), '', '', ''];
  const widths = head.map((_, column) => Math.max(...[head, ...rows, all].map((row) => row[column]!.length)));
  const table = [head, ...rows, all].map((row) =>
    `  ${row.map((cell, column) => (column === row.length - 1 ? cell : cell.padStart(widths[column]!))).join('  ')}`.trimEnd(),
  );
  const ownVerdict = agrees
    ? 'agreed: the sinks have handled what was published'
    : 'DISAGREED: see the partitions above';
  return ['Proof', ...table, `Verdict: ${verdict ?? ownVerdict}`];
}

function formatChecksum(checksum: bigint): string {
  return checksum.toString(16).padStart(16, '0');
}

/** 1234567 as 1,234,567. */
export function formatCount(count: number | bigint): string {
  return count.toLocaleString('en-US');
}

export function renderFields(title: string, fields: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...fields.map(([name]) => name.length));
  return [title, ...fields.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)];
}
