// What adopting a halt of the reader comes to: from which commit on orders count as unpublished, whether the live topic
// has to begin a new generation, and the checkpoint that results. Pure: facts in, plan out.
import { type CaptureFingerprint, compareCapture, type TableName } from '#schemas/capture-fingerprint.ts';

import { addOrderId, type Checkpoint, hashOrderIds, type LastPublished, type LsnRange } from '#schemas/checkpoint.ts';
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
  /** Null when it is missing or can't be read. */
  readonly checkpoint: Checkpoint | null;
  /** What the reader would halt with now; null when nothing is wrong that a start can see. */
  readonly halt: HaltError | null;
  /** Null when nothing was published, or that is not known. */
  readonly lastOrderExists: boolean | null;
  /** Null when the live topic does not exist; `unreadable` when something else writes to it. */
  readonly live: readonly EventTail[] | 'unreadable' | null;
}

export interface ReaderPlan {
  /** Commits from here to the new slot's start count as not published. */
  readonly gapFrom: Lsn;
  /** Why the live topic must begin anew; null when it goes on. */
  readonly newGeneration: string | null;
  /** Whether the WAL, read again, would give what is missing. */
  readonly isInWal: boolean;
}

export function planReader(facts: ReaderFacts): ReaderPlan {
  const newGeneration = findReasonForNewGeneration(facts);
  return {
    gapFrom: newGeneration === null ? findGapStart(facts) : LSN_ZERO,
    newGeneration,
    // Decoded again, the same rows are missing: the stream leaves out what was not published when it was written.
    isInWal:
      facts.checkpoint === null || compareCapture(facts.checkpoint.capture, facts.capture).differences.length === 0,
  };
}

function findReasonForNewGeneration(facts: ReaderFacts): string | null {
  const { checkpoint, live, identity, flushLsn } = facts;
  if (live === null) return 'the live topic does not exist';
  if (live === 'unreadable') return 'something else has written to the live topic';
  const changed = checkpoint === null ? null : judgeLiveTopic(checkpoint, live);
  if (changed !== null) return changed;
  if (facts.lastOrderExists === false && !isReplaced(facts))
    return 'the live topic ends with an order that the database does not have';
  const newest = findNewest(live);
  const next: Position = { timeline: identity.timeline, commitLsn: flushLsn, ordinal: 0 };
  if (newest !== null && comparePositions(next, newest) <= 0) {
    return `the server is at ${identity.timeline}:${formatLsn(flushLsn)}, and the live topic ends at ${formatPosition(newest)}: positions would go back`;
  }
  return null;
}

/** The orders table of today is not the one that was captured: that its orders are not in it says nothing of the server. */
function isReplaced({ checkpoint, capture }: ReaderFacts): boolean {
  if (checkpoint === null || 'version1' in checkpoint.capture) return false;
  return checkpoint.capture.tables.orders?.oid !== capture.tables.orders?.oid;
}

/** The reader's own check of the live topic. Null when it goes on. */
function judgeLiveTopic(checkpoint: Checkpoint, live: readonly EventTail[]): string | null {
  try {
    checkLiveTopic(checkpoint, live);
    return null;
  } catch (error) {
    if (!(error instanceof HaltError)) throw error;
    return 'the live topic is not the one that was published to, or has lost its end';
  }
}

function findGapStart({ checkpoint, identity, flushLsn, halt }: ReaderFacts): Lsn {
  if (checkpoint === null) return LSN_ZERO;
  const { throughLsn, lastPublished } = checkpoint;
  // What this server committed where it had already left the line of the one that was published from.
  const divergence = findDivergence(checkpoint, identity);
  if (divergence !== null && divergence < throughLsn) return divergence;
  // A restored server, or a reason that only the stream shows: all that is certain is the last published transaction.
  const afterLast = lastPublished === null ? LSN_ZERO : toLsn(lastPublished.commitLsn + 1n);
  return flushLsn < throughLsn || halt === null ? afterLast : throughLsn;
}

/** The furthest event of the live topic. */
export function findNewest(live: readonly EventTail[]): OrderPlaced | null {
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

/** The checkpoint to go on from. `live`: the topic as it is now; `generation`: of the plan's new generation, if any. */
export function buildCheckpoint(
  facts: ReaderFacts,
  plan: ReaderPlan,
  made: {
    readonly slotName: string;
    readonly consistentPoint: Lsn;
    readonly capture: CaptureFingerprint;
    readonly live: readonly EventTail[];
    readonly generation: number;
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
    capture: made.capture,
    gaps: isNew ? addGap([], range) : addGap(checkpoint?.gaps ?? [], range),
    windowMarks: [],
  };
}

function markReplaced(facts: ReaderFacts, last: LastPublished | null): LastPublished | null {
  return last === null || facts.lastOrderExists !== false ? last : { ...last, isReplaced: true };
}

/** How far one consumer group had applied the live topic: in how many partitions, and by the one furthest back. */
export interface GroupPosition {
  readonly positions: number;
  readonly timelines: readonly (number | null)[];
  readonly lowestLsn: Lsn | null;
}

/**
 * With a new generation, the range that holds every order which the sinks have not applied: less than the whole gap, where
 * each partition tells how far it was applied on this very line of the server.
 */
export function findUnapplied(
  { checkpoint, identity, lastOrderExists }: ReaderFacts,
  groups: readonly GroupPosition[],
  { gaps, throughLsn }: Checkpoint,
): readonly LsnRange[] {
  if (checkpoint === null || lastOrderExists !== true || groups.length === 0) return gaps;
  let fromLsn = checkpoint.throughLsn;
  for (const { positions, timelines, lowestLsn } of groups) {
    const isOfThisLine = timelines.every((timeline) => timeline === identity.timeline);
    if (positions < checkpoint.partitions || !isOfThisLine || lowestLsn === null) return gaps;
    if (lowestLsn < fromLsn) fromLsn = lowestLsn;
  }
  return addGap(checkpoint.gaps, { fromLsn, toLsn: throughLsn });
}

/** The hash is of one order only: its transaction lies before the new slot, which never gives it to be compared. */
function rebuildLastPublished(newest: OrderPlaced | null): LastPublished | null {
  if (newest === null) return null;
  const { commitLsn, ordinal, orderId } = newest;
  const hash = hashOrderIds();
  addOrderId(hash, orderId);
  return { commitLsn, ordinal, orderId, ordersHash: hash.digest('hex') };
}
