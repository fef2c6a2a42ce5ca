// What adopting a halt of the sinks comes to, partition by partition: to which offset it moves, and from which commit on
// a replay has to close the gap. Pure: offsets and a scan in, moves out.
import { formatLsn } from '#schemas/lsn.ts';
import { comparePositions, type Position } from '#schemas/position.ts';
import type { AppliedPosition } from '../../../cart-sink/apply/positions.ts';
import { checkStart as judgeStart } from '../../../cart-sink/consume/offset-checks.ts';
import type { ScanResult } from './position-scan.ts';

/** A partition as both sides have it. */
export interface SinkPartition {
  readonly topic: string;
  readonly isLive: boolean;
  readonly partition: number;
  readonly ownerEpoch: bigint;
  readonly storedOffset: bigint;
  readonly applied: AppliedPosition;
  readonly earliest: bigint;
  readonly highWatermark: bigint;
  /** Whether the last order before the stored offset is in the ledger; null when there is none to ask for. */
  readonly isLastApplied: boolean | null;
}

/** Where a scan has to begin, and what the sink knows of what was applied before it. */
export interface ScanStart {
  readonly code: 'RECORDS_LOST' | 'OFFSET_BEYOND_END' | 'OFFSET_WENT_BACK' | null;
  readonly fromOffset: bigint;
  readonly before: AppliedPosition;
}

export interface SinkMove {
  readonly partition: SinkPartition;
  readonly code: string;
  readonly nextOffset: bigint;
  readonly forgetPosition: boolean;
  /** The replay begins here at the latest; null when that is not known. */
  readonly replayFrom: Position | null;
}

/** What the offsets alone tell. */
export function findScanStart({
  storedOffset,
  applied,
  earliest,
  highWatermark,
  isLastApplied,
}: SinkPartition): ScanStart {
  const verdict = judgeStart(storedOffset, { earliest, highWatermark });
  if (verdict === 'records-lost') return { code: 'RECORDS_LOST', fromOffset: earliest, before: applied };
  const forgotten = { position: null, generation: null };
  if (verdict === 'beyond-end') return { code: 'OFFSET_BEYOND_END', fromOffset: earliest, before: forgotten };
  // The record before was never applied: this is another topic than the one that was consumed.
  if (isLastApplied === false) return { code: 'OFFSET_WENT_BACK', fromOffset: earliest, before: forgotten };
  return { code: null, fromOffset: storedOffset, before: applied };
}

/** Null when the sink can go on as it is. */
export function planMove(partition: SinkPartition, start: ScanStart, scan: ScanResult): SinkMove | null {
  const code = start.code ?? scan.code;
  if (code === null) return null;
  const { position } = partition.applied;
  const skipped = scan.lowestSkipped;
  const isSkippedLower = position !== null && skipped !== null && comparePositions(skipped, position) < 0;
  return {
    partition,
    code,
    nextOffset: scan.resumeOffset ?? start.fromOffset,
    forgetPosition: start.before !== partition.applied || scan.code !== null,
    replayFrom: isSkippedLower ? skipped : position,
  };
}

/** The commands that close the gap, the surest last. A move that loses nothing asks for none. */
export function formatSinkRepairs(moves: readonly SinkMove[]): string[] {
  const tables = 'npm run replay -- --source tables';
  const losing = moves.filter(({ partition, code, nextOffset }) => {
    return partition.isLive && (code !== 'POSITION_WENT_BACK' || nextOffset !== partition.storedOffset);
  });
  if (losing.length === 0) return [];
  const from = losing.map(({ replayFrom }) => replayFrom);
  if (from.includes(null)) return [tables];
  const [lowest] = (from as Position[]).toSorted(comparePositions);
  return [`npm run replay -- --from-lsn ${lowest!.timeline}:${formatLsn(lowest!.commitLsn)}`, tables];
}
