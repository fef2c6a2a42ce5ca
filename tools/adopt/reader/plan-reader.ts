// The plan for a halt of the reader: from which commit on orders count as unpublished, whether the live topic has to begin a
// new generation, and the checkpoint that results. Pure: facts in, plan out.
import { type CaptureFingerprint, compareCapture, type TableName } from '#schemas/capture-fingerprint.ts';
import { addOrderId, type Checkpoint, hashOrderIds, type LastPublished } from '#schemas/checkpoint.ts';
import { formatLsn, LSN_ZERO, type Lsn, toLsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { orderPartition } from '#schemas/partition.ts';
import { comparePositions, formatPosition, type Position } from '#schemas/position.ts';
import { HaltError } from '#service/halt.ts';
import type { SourceIdentity } from '../../../cdc-reader/postgres/walsender.ts';
import { checkLiveTopic } from '../../../cdc-reader/startup/continuity.ts';
import type { EventTail } from '../../../cdc-reader/startup/live-topic.ts';
import { addGap, findDivergence } from './gap.ts';

export interface ReaderFacts {
  readonly identity: SourceIdentity;
  readonly flushLsn: Lsn;
  readonly slotExists: boolean;
  /** What the captured tables are called now, by oid. */
  readonly tableNames: ReadonlyMap<number, TableName>;
  readonly capture: CaptureFingerprint;
  /** Null if it is missing or can't be decoded. */
  readonly checkpoint: Checkpoint | null;
  /** What the reader would halt with now; null if its checks at a start find nothing. */
  readonly halt: HaltError | null;
  /** Null if nothing was published, or it is unknown what was. */
  readonly lastOrderExists: boolean | null;
  /** Null if the live topic does not exist; `unreadable` if something else writes to it. */
  readonly live: readonly EventTail[] | 'unreadable' | null;
  /** Kafka's id of the live topic; null if it does not exist, or the brokers have none. */
  readonly liveTopicId: string | null;
}

export interface ReaderPlan {
  /** Commits from here to the new slot's start count as not published. */
  readonly gapFrom: Lsn;
  /** Why the live topic needs a new generation; null if it continues. */
  readonly newGeneration: string | null;
  /** Whether a replay from WAL would bring what is missing. */
  readonly isInWal: boolean;
}

export function planReader(facts: ReaderFacts): ReaderPlan {
  const newGeneration = findReasonForNewGeneration(facts);
  return {
    gapFrom: newGeneration === null ? findGapStart(facts) : LSN_ZERO,
    newGeneration,
    // If what is captured has changed, no: Postgres decodes WAL by the publication and the tables of the time it was written.
    // Nor if the cause shows only in the stream (--force): it may be a change that is undone by now.
    isInWal:
      facts.halt !== null &&
      (facts.checkpoint === null || compareCapture(facts.checkpoint.capture, facts.capture).differences.length === 0),
  };
}

function findReasonForNewGeneration(facts: ReaderFacts): string | null {
  const { checkpoint, live, identity, flushLsn } = facts;
  if (live === null) return 'the live topic does not exist';
  if (live === 'unreadable') return 'something else has written to the live topic';
  const changed = checkpoint === null ? null : findTopicChange(checkpoint, live, facts.liveTopicId);
  if (changed !== null) return changed;
  if (facts.lastOrderExists === false && !isReplaced(facts))
    return 'the live topic ends with an order that is missing from the database';
  const newest = findNewest(live);
  const next: Position = { timeline: identity.timeline, commitLsn: flushLsn, ordinal: 0 };
  if (newest !== null && comparePositions(next, newest) <= 0) {
    return `the server is at ${identity.timeline}:${formatLsn(flushLsn)}, and the live topic ends at ${formatPosition(newest)}: positions would go back`;
  }
  return null;
}

/** Today's orders table is not the captured one, so an order missing from it proves nothing about the server. */
function isReplaced({ checkpoint, capture }: ReaderFacts): boolean {
  if (checkpoint === null || 'version1' in checkpoint.capture) return false;
  return checkpoint.capture.tables.orders?.oid !== capture.tables.orders?.oid;
}

/** The reader's own check of the live topic; null if it passes. */
function findTopicChange(
  checkpoint: Checkpoint,
  live: readonly EventTail[],
  liveTopicId: string | null,
): string | null {
  try {
    checkLiveTopic(checkpoint, live, liveTopicId);
    return null;
  } catch (error) {
    if (!(error instanceof HaltError)) throw error;
    return 'the live topic was recreated, or has lost records at its end';
  }
}

function findGapStart({ checkpoint, identity, flushLsn, halt }: ReaderFacts): Lsn {
  if (checkpoint === null) return LSN_ZERO;
  const { throughLsn, lastPublished } = checkpoint;
  // From here on this server's WAL differs from that of the server whose orders were published.
  const divergence = findDivergence(checkpoint, identity);
  if (divergence !== null && divergence < throughLsn) return divergence;
  // A restored server, or a halt that only streaming can show: only the last published transaction is certain.
  const afterLast = lastPublished === null ? LSN_ZERO : toLsn(lastPublished.commitLsn + 1n);
  return flushLsn < throughLsn || halt === null ? afterLast : throughLsn;
}

/** The generation of the live topic that continues; without a checkpoint, as its newest events have it. */
export function findGeneration({ checkpoint, live }: ReaderFacts): number {
  const newest = live === null || live === 'unreadable' ? [] : live.flatMap((tail) => tail.newest ?? []);
  return checkpoint?.generation ?? Math.max(1, ...newest.map((event) => event.generation));
}

/** The furthest event of the live topic. */
function findNewest(live: readonly EventTail[]): OrderPlaced | null {
  let furthest: OrderPlaced | null = null;
  for (const { newest } of live) {
    if (newest !== null && (furthest === null || comparePositions(newest, furthest) > 0)) furthest = newest;
  }
  return furthest;
}

/**
 * The partitions that a lost checkpoint used, by the newest event of each: the most for which every user's events are
 * where they belong. Partitions added later are not among them.
 */
export function findPartitionsInUse(live: readonly EventTail[]): number {
  for (let partitions = live.length; partitions > 1; partitions--) {
    const fits = ({ partition, newest }: EventTail) =>
      newest === null || orderPartition(newest.userId, partitions) === partition;
    if (live.every(fits)) return partitions;
  }
  return Math.max(1, live.length);
}

/** The checkpoint to continue from. `live`: the topic as it is now. */
export function buildCheckpoint(
  facts: ReaderFacts,
  plan: ReaderPlan,
  made: {
    readonly slotName: string;
    readonly consistentPoint: Lsn;
    readonly capture: CaptureFingerprint;
    readonly live: readonly EventTail[];
    readonly generation: number;
    readonly liveTopicId: string | null;
  },
): Checkpoint {
  const { identity, checkpoint } = facts;
  const isNew = plan.newGeneration !== null;
  const range = { fromLsn: plan.gapFrom, toLsn: made.consistentPoint };
  return {
    state: 'streaming',
    systemIdentifier: identity.systemIdentifier,
    database: identity.database,
    slotName: made.slotName,
    timeline: identity.timeline,
    history: identity.history,
    generation: made.generation,
    partitions: isNew ? made.live.length : (checkpoint?.partitions ?? findPartitionsInUse(made.live)),
    lastPublished: isNew
      ? null
      : checkpoint === null
        ? rebuildLastPublished(findNewest(made.live))
        : markReplaced(facts, checkpoint.lastPublished),
    throughLsn: made.consistentPoint,
    partial: null,
    nextOffsets: isNew ? [] : (checkpoint?.nextOffsets ?? made.live.map(({ end }) => end)),
    endOffsets: isNew ? [] : (checkpoint?.endOffsets ?? made.live.map(({ end }) => end)),
    capture: made.capture,
    gaps: isNew ? addGap([], range) : addGap(checkpoint?.gaps ?? [], range),
    windowMarks: [],
    liveTopicId: made.liveTopicId,
  };
}

function markReplaced(facts: ReaderFacts, last: LastPublished | null): LastPublished | null {
  return last === null || facts.lastOrderExists !== false ? last : { ...last, isReplaced: true };
}

/** The hash covers one order only: its transaction lies before the new slot, so it is never compared. */
function rebuildLastPublished(newest: OrderPlaced | null): LastPublished | null {
  if (newest === null) return null;
  const { commitLsn, ordinal, orderId } = newest;
  const hash = hashOrderIds();
  addOrderId(hash, orderId);
  return { commitLsn, ordinal, orderId, ordersHash: hash.digest('hex') };
}
