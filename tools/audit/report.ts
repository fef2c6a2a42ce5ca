// What an audit prints at its end. Pure: results in, lines out. Guarantees: of rows, only ids, line numbers, SKUs and
// quantities are shown; every kind of difference comes with its remedy.
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import { type AuditResult, countDifferences, isClean } from './compare/tally.ts';
import type { Wait } from './wait/watch-pipeline.ts';

export interface AuditReport {
  readonly result: AuditResult;
  /** The end of the WAL when the snapshot was taken. */
  readonly snapshotLsn: Lsn;
  /** `parked`: without an outcome; `distinct`: different ones of these. */
  readonly parked: {
    readonly parked: number;
    readonly distinct: number;
    readonly discarded: number;
    readonly retried: number;
  };
  /** Records of the replay topic that the sinks have not consumed; null if there is no such topic. */
  readonly replayBacklog: bigint | null;
  /** A line for each partition that the sinks have halted. */
  readonly halted: readonly string[];
  /** Orders that only replaced tables hold and the ledger lacks. */
  readonly leftOrders: number;
  /** Commands that repair missing orders. */
  readonly repairs: readonly string[];
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
    lines.push(line('stray removals', result.strayRemovals, 'ids with removals, but without a ledger entry'));
  if (result.replaced > 0) {
    lines.push(line('replaced', result.replaced, 'in the ledger, and only in a table that was replaced'));
  }
  if (result.newer > 0) lines.push(line('newer', result.newer, 'placed after the snapshot, not compared'));
  if (parked.parked > 0) lines.push(formatParked(parked, line));
  if (parked.discarded > 0)
    lines.push(line('discarded', parked.discarded, 'parked events that an operator has discarded'));
  if (parked.retried > 0) lines.push(line('retried', parked.retried, 'parked events that an operator has applied'));
  if (report.replayBacklog !== null && report.replayBacklog > 0n) {
    lines.push(
      `${report.replayBacklog} records of the replay topic are not consumed yet: run the audit again when they are.`,
    );
  }
  lines.push(...report.halted);
  const shown = result.examples.length;
  const found = countDifferences(result);
  if (shown > 0) {
    lines.push(
      shown < found ? `the first ${shown} of ${found}:` : 'these are:',
      ...result.examples.map((one) => `  ${one}`),
    );
  }
  return [...lines, ...formatAdvice(report)];
}

/** What is kept of an audit. */
export function formatVerdict(result: AuditResult, leftOrders: number, at = new Date()) {
  const differences = countDifferences(result) + leftOrders;
  return {
    kind: 'audit' as const,
    at: at.toISOString(),
    orders: String(result.orders),
    differences: String(differences),
    verdict: differences === 0 ? ('agree' as const) : ('differ' as const),
  };
}

/** What an audit prints that did not compare; nothing if the snapshot was passed. */
export function formatWait(wait: Wait, snapshotLsn: Lsn, waitMs: number): string[] {
  if (wait.kind === 'passed') return [];
  const snapshot = `the snapshot at ${formatLsn(snapshotLsn)}`;
  const [what, remedy] =
    wait.kind === 'halted'
      ? [`The sinks have halted, and will not pass ${snapshot} by themselves:`, 'Or compare anyway with --no-wait.']
      : [
          `Reader and sinks did not pass ${snapshot} within ${waitMs / 1_000} s:`,
          'Wait longer with --wait-seconds, or compare anyway with --no-wait.',
        ];
  return [what, ...wait.why.map((line) => `  ${line}`), remedy];
}

function formatParked(
  { parked, distinct }: AuditReport['parked'],
  line: (name: string, count: number, what: string) => string,
): string {
  const copies = parked - distinct;
  return line(
    'parked events',
    parked,
    copies > 0 ? `${copies} of them copies of another` : 'see npm run parked -- list',
  );
}

function formatAdvice({ result, repairs, leftOrders }: AuditReport): string[] {
  if (isClean(result) && leftOrders === 0) return ['The two databases agree.'];
  const lines = ['The two databases differ.'];
  if (result.missing > 0) lines.push('Missing orders are applied by:', ...repairs.map((command) => `  ${command}`));
  if (result.phantom > 0) {
    lines.push(
      'Phantom orders were published, but are no longer in the orders table: rows were deleted, or the table or the database ' +
        'was replaced. Their goods have been removed from carts.',
    );
  }
  if (leftOrders > 0 || result.replaced > 0) {
    lines.push(
      'Some orders are only in tables that were replaced: put the captured tables back under their names, copy into them what was ' +
        'inserted into the others, run `npm run adopt -- reader`, start the reader, then run `npm run replay -- --source tables`.',
    );
  }
  if (result.differing > 0 || result.strayRemovals > 0) {
    lines.push('Differing orders were changed by hand in one of the databases, or show a defect: please report it.');
  }
  return lines;
}
