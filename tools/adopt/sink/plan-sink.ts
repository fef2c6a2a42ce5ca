// The plan for a halt of the sinks, partition by partition: to which offset it moves, and from which commit on a replay has to
// close the gap. Pure: offsets and a scan in, moves out.
import { formatLsn } from '#schemas/lsn.ts';
import { comparePositions, type Position } from '#schemas/position.ts';
import type { AppliedPosition } from '../../../cart-sink/apply/move-offsets.ts';
import { checkStart, isOtherTopic } from '../../../cart-sink/consume/offset-checks.ts';
import { REPLAY_TABLES } from '../../repairs.ts';
import type { ScanResult } from './position-scan.ts';

/** A partition as Kafka and the carts database have it. */
export interface SinkPartition {
  readonly topic: string;
  readonly isLive: boolean;
  readonly partition: number;
  readonly ownerEpoch: bigint;
  readonly storedOffset: bigint;
  readonly applied: AppliedPosition;
  readonly earliest: bigint;
  readonly highWatermark: bigint;
  /** In which topic the stored offset counts, and which one has the name now, by Kafka's ids; null where unknown. */
  readonly storedTopicId: string | null;
  readonly topicId: string | null;
  /** Whether the last order before the stored offset is in the ledger; null if none was found there. */
  readonly isLastApplied: boolean | null;
}

/** Where a scan begins, and what was applied before it as far as the sink knows. */
export interface ScanStart {
  readonly code: 'RECORDS_LOST' | 'OFFSET_BEYOND_END' | 'OFFSET_WENT_BACK' | 'TOPIC_RECREATED' | null;
  readonly fromOffset: bigint;
  readonly before: AppliedPosition;
}

export interface SinkMove {
  readonly partition: SinkPartition;
  readonly code: string;
  readonly nextOffset: bigint;
  readonly forgetPosition: boolean;
  /** The replay must begin here or earlier; null if unknown. */
  readonly replayFrom: Position | null;
}

/** Decides by the offsets alone. */
export function findScanStart({
  storedOffset,
  applied,
  earliest,
  highWatermark,
  isLastApplied,
  storedTopicId,
  topicId,
}: SinkPartition): ScanStart {
  const check = checkStart(storedOffset, { earliest, highWatermark });
  const forgotten = { position: null, generation: null };
  if (check === 'beyond-end') return { code: 'OFFSET_BEYOND_END', fromOffset: earliest, before: forgotten };
  const isOther = isOtherTopic(storedTopicId, topicId);
  if (isOther) return { code: 'TOPIC_RECREATED', fromOffset: earliest, before: forgotten };
  if (check === 'records-lost') return { code: 'RECORDS_LOST', fromOffset: earliest, before: applied };
  // The record before the stored offset was never applied, so this is not the topic that was consumed.
  if (isLastApplied === false) return { code: 'OFFSET_WENT_BACK', fromOffset: earliest, before: forgotten };
  return { code: null, fromOffset: storedOffset, before: applied };
}

/** Null if the sink can continue as it is. */
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

/** The commands that close the gap, the surest last; none for moves that skip nothing. */
export function formatSinkRepairs(moves: readonly SinkMove[]): string[] {
  const losing = moves.filter(({ partition, code, nextOffset }) => {
    return partition.isLive && (code !== 'POSITION_WENT_BACK' || nextOffset !== partition.storedOffset);
  });
  if (losing.length === 0) return [];
  const from = losing.map(({ replayFrom }) => replayFrom);
  if (from.includes(null)) return [REPLAY_TABLES];
  const [lowest] = (from as Position[]).toSorted(comparePositions);
  return [`npm run replay -- --from-lsn ${lowest!.timeline}:${formatLsn(lowest!.commitLsn)}`, REPLAY_TABLES];
}
