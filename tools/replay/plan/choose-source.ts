// Chooses the source that a range is read from. Pure. `auto` takes the first that covers the whole range: the live topic, which
// costs the orders database nothing, then the replay window's WAL. Never the tables: they hold no positions, so a range would
// not be respected; the refusal names the command that uses them.

import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn } from '#schemas/lsn.ts';
import type { SourceKind } from '#schemas/replay/plan.ts';
import { formatRange } from '../../repairs.ts';
import { NotCoveredError } from '../cli/errors.ts';
import type { Coverage } from '../sources/source.ts';

/** @throws NotCoveredError with what each source covers, the oldest position available, and the commands for it */
export function chooseSource(wanted: SourceKind | 'auto', range: LsnRange, coverages: readonly Coverage[]): Coverage {
  const candidates = wanted === 'auto' ? coverages : coverages.filter(({ kind }) => kind === wanted);
  const chosen = candidates.find((coverage) => coverage.covers(range));
  if (chosen !== undefined) return chosen;
  throw new NotCoveredError(
    [
      `no source holds all of ${formatRange(range)}${wanted === 'auto' ? '' : ` (requested: ${wanted})`}`,
      ...coverages.map((coverage) => `  ${formatCoverage(coverage)}`),
      ...formatRemedies(coverages, range),
    ].join('\n'),
  );
}

/** One line: `kafka: 0/16B3748 to 0/1A00000 (why)`. */
export function formatCoverage({ kind, oldestLsn, newestLsn, why: sentence }: Coverage): string {
  const why = sentence.replace(/\.$/, '');
  if (oldestLsn === null) return `${kind}: nothing (${why})`;
  return `${kind}: ${formatLsn(oldestLsn)} to ${formatLsn(newestLsn)} (${why})`;
}

function formatRemedies(coverages: readonly Coverage[], { toLsn }: LsnRange): string[] {
  // Of use is a source that covers everything from its oldest position to the end of the range.
  const oldest = coverages
    .flatMap((coverage) => (coverage.oldestLsn === null ? [] : [{ ...coverage, oldestLsn: coverage.oldestLsn }]))
    .filter((coverage) => coverage.oldestLsn <= toLsn && coverage.covers({ fromLsn: coverage.oldestLsn, toLsn }))
    .sort((a, b) => (a.oldestLsn < b.oldestLsn ? -1 : 1))[0];
  return [
    oldest === undefined
      ? 'No position is available.'
      : `The oldest position available is ${formatLsn(oldest.oldestLsn)}: npm run replay -- --from-lsn ${formatLsn(oldest.oldestLsn)} --source ${oldest.kind}`,
    'Every order that the ledger lacks, whatever its position: npm run replay -- --source tables',
  ];
}
