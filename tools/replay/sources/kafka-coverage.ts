// What the live topic covers, out of what the reader knows of it: from where on no partition has lost records, and the
// gaps that an operator has accepted. Pure.

import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn, LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import { coversRange } from '../../../cdc-reader/replay-window/kafka-coverage.ts';
import type { Coverage } from './source.ts';

/** `oldestLsn`: null when nothing is held for sure. */
export function kafkaCoverage(
  topic: string,
  { oldestLsn, gaps, newestLsn }: { oldestLsn: Lsn | null; gaps: readonly LsnRange[]; newestLsn: Lsn },
): Coverage {
  if (oldestLsn === null) {
    const why = `${topic} has a partition without records, from which others may have been deleted`;
    return { kind: 'kafka', oldestLsn, newestLsn, why, covers: () => false };
  }
  const lastGap = gaps.reduce((end, { toLsn }) => maxLsn(end, toLsn), LSN_ZERO);
  const known = gaps.map(({ fromLsn, toLsn }) => `[${formatLsn(fromLsn)}, ${formatLsn(toLsn)})`);
  const begin = oldestLsn === LSN_ZERO ? `${topic} has lost no record` : `retention has cut ${topic}`;
  return {
    kind: 'kafka',
    oldestLsn: maxLsn(oldestLsn, lastGap),
    newestLsn,
    why: known.length === 0 ? begin : `${begin}; gaps that were accepted: ${known.join(', ')}`,
    covers: (range) => range.toLsn <= newestLsn && coversRange({ oldestLsn }, gaps, range),
  };
}
