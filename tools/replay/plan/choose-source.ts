// Which source a range is read from. Pure. `auto` takes the first that covers the whole range: the live topic, which
// costs the orders database nothing, then the window of WAL. Never the tables: they hold no positions, so whoever asked
// for a range would get something else; the refusal names the command for it.

import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn } from '#schemas/lsn.ts';
import type { SourceKind } from '#schemas/replay/plan.ts';
import { NotCoveredError } from '../cli/errors.ts';
import type { Coverage } from '../sources/source.ts';

/** @throws NotCoveredError saying what each source covers, the oldest position that can be had, and the command */
export function chooseSource(wanted: SourceKind | 'auto', range: LsnRange, coverages: readonly Coverage[]): Coverage {
  const candidates = wanted === 'auto' ? coverages : coverages.filter(({ kind }) => kind === wanted);
  const chosen = candidates.find((coverage) => coverage.covers(range));
  if (chosen !== undefined) return chosen;
  throw new NotCoveredError(
    [
      `no source holds all of ${formatRange(range)}${wanted === 'auto' ? '' : ` (asked for: ${wanted})`}`,
      ...coverages.map((coverage) => `  ${formatCoverage(coverage)}`),
      ...formatRemedies(coverages, range),
    ].join('\n'),
  );
}

export function formatRange({ fromLsn, toLsn }: LsnRange): string {
  return `[${formatLsn(fromLsn)}, ${formatLsn(toLsn)})`;
}

/** One line: `kafka: 0/16B3748 to 0/1A00000 (why)`. */
export function formatCoverage({ kind, oldestLsn, newestLsn, why: sentence }: Coverage): string {
  const why = sentence.replace(/\.$/, '');
  if (oldestLsn === null) return `${kind}: nothing (${why})`;
  return `${kind}: ${formatLsn(oldestLsn)} to ${formatLsn(newestLsn)} (${why})`;
}

function formatRemedies(coverages: readonly Coverage[], { toLsn }: LsnRange): string[] {
  // The oldest of a coverage bounds it up to its newest; one that covers up to the end of the range is of use.
  const oldest = coverages
    .flatMap((coverage) => (coverage.oldestLsn === null ? [] : [{ ...coverage, oldestLsn: coverage.oldestLsn }]))
    .filter((coverage) => coverage.oldestLsn <= toLsn && coverage.covers({ fromLsn: coverage.oldestLsn, toLsn }))
    .sort((a, b) => (a.oldestLsn < b.oldestLsn ? -1 : 1))[0];
  return [
    oldest === undefined
      ? 'No position can be had.'
      : `The oldest position that can be had is ${formatLsn(oldest.oldestLsn)}: npm run replay -- --from-lsn ${formatLsn(oldest.oldestLsn)} --source ${oldest.kind}`,
    'Every order that the ledger lacks, whatever its position: npm run replay -- --source tables',
  ];
}
