// What an audit prints at its end. Pure: results in, lines out. Guarantees: of rows, only ids, line numbers, SKUs and
// quantities are shown; every kind of disagreement comes with what to do about it.
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import { type AuditResult, isClean } from './tally.ts';

export interface AuditReport {
  readonly result: AuditResult;
  /** Where the log ended when the orders were read. */
  readonly snapshotLsn: Lsn;
  readonly parked: { readonly parked: number; readonly distinct: number };
  /** Records of the replay topic that the sinks have not consumed; null when there is no such topic. */
  readonly replayBacklog: bigint | null;
  /** Commands that repair missing orders. */
  readonly repairs: readonly string[];
  readonly limit: number;
}

export function formatReport(report: AuditReport): string[] {
  const { result, parked } = report;
  const line = (name: string, count: number, what = '') =>
    `${name.padEnd(16)}${String(count).padStart(10)}  ${what}`.trimEnd();
  const lines = [
    `orders as of ${formatLsn(report.snapshotLsn)}`,
    line('orders', result.orders),
    line('agreeing', result.agreeing),
    line('missing', result.missing, 'placed, not in the ledger'),
    line('phantom', result.phantom, 'in the ledger, never placed'),
    line('differing', result.differing),
    ...[...result.kinds].sort(([a], [b]) => (a < b ? -1 : 1)).map(([kind, count]) => `  ${kind}: ${count}`),
  ];
  if (result.strayRemovals > 0)
    lines.push(line('stray removals', result.strayRemovals, 'removals without a ledger entry'));
  if (result.newer > 0) lines.push(line('newer', result.newer, 'placed after the snapshot, not judged'));
  if (parked.parked > 0) lines.push(formatParked(parked, line));
  if (report.replayBacklog !== null && report.replayBacklog > 0n) {
    lines.push(`${report.replayBacklog} records of the replay topic are not consumed yet; audit again when they are.`);
  }
  const shown = result.examples.length;
  const found = result.missing + result.phantom + result.differing + result.strayRemovals;
  if (shown > 0) {
    lines.push(
      shown < found ? `the first ${shown} of ${found}:` : 'these are:',
      ...result.examples.map((one) => `  ${one}`),
    );
  }
  return [...lines, ...advise(report)];
}

function formatParked(
  { parked, distinct }: AuditReport['parked'],
  line: (name: string, count: number, what: string) => string,
): string {
  const copies = parked - distinct;
  return line(
    'parked events',
    parked,
    copies > 0 ? `${copies} of them copies of another` : 'in parked_events, with the reason',
  );
}

function advise({ result, repairs }: AuditReport): string[] {
  if (isClean(result)) return ['The two databases agree.'];
  const lines = ['The two databases differ.'];
  if (result.missing > 0) lines.push('Missing orders are applied by:', ...repairs.map((command) => `  ${command}`));
  if (result.phantom > 0) {
    lines.push(
      'Phantoms were published from a database that was restored or replaced since; carts have lost their goods.',
    );
  }
  if (result.differing > 0 || result.strayRemovals > 0) {
    lines.push('Differing orders were changed by hand in one of the databases, or are a defect: please report it.');
  }
  return lines;
}
