// Whether publishing may continue from the checkpoint: one pure function over facts that start-up has read (I11).
// Guarantees: it returns only where every transaction since `throughLsn` is provably still to come, and nothing that
// was published is unknown to this server; otherwise it throws the named error. What only the stream shows (the contents
// of transactions that are dropped) is DropVerifier's, below.
import {
  type CaptureFingerprint,
  compareCapture,
  describeMoved,
  type TableName,
} from '#schemas/capture-fingerprint.ts';
import { addOrderId, type Checkpoint, hashOrderIds, isSlotAhead } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import type { Position } from '#schemas/position.ts';
import type { TimelineSwitch } from '#schemas/timeline.ts';
import {
  ContentsDifferError,
  captureChanged,
  LiveTopicChangedError,
  ServerBehindError,
  SlotAheadError,
  SlotForeignError,
  SystemChangedError,
  TimelineForkedError,
} from '../errors.ts';
import { SlotLostError } from '../postgres/slots/slot-lost.ts';

export interface ContinuityFacts {
  /** False before fencing where a newer checkpoint may be in a transaction that has not ended: Postgres may know of it. */
  readonly isNewest: boolean;
  readonly source: {
    readonly systemIdentifier: string;
    readonly database: string;
    readonly timeline: number;
    readonly history: readonly TimelineSwitch[];
    readonly flushLsn: Lsn;
  };
  readonly slot: {
    readonly name: string;
    readonly plugin: string;
    readonly database: string;
    readonly confirmedFlushLsn: Lsn | null;
    readonly walStatus: string | null;
    readonly invalidationReason: string | null;
  };
  readonly capture: CaptureFacts;
  /** Whether the last published order is in `orders`; null when nothing was published. */
  readonly lastOrderExists: boolean | null;
  /** Null before fencing: then another reader's transaction may just be ending, and only the identity is checked. */
  readonly live: readonly PartitionTail[] | null;
  /** Kafka's id of the live topic; null where it was not read, or the brokers have none. */
  readonly liveTopicId: string | null;
}

/** A checkpoint that publishing may continue from; its capture is that of the catalogue now. */
export type VerifiedCheckpoint = Checkpoint & { readonly capture: CaptureFingerprint };

/** Who the captured tables are now. `names`: by oid, what the tables that the checkpoint recorded are called now. */
interface CaptureFacts {
  readonly publicationName: string;
  readonly found: CaptureFingerprint;
  readonly names: ReadonlyMap<number, TableName>;
}

/** The end of one partition of the live topic; offsets as of now, `newest` the position of its last event. */
export interface PartitionTail {
  readonly partition: number;
  readonly earliest: bigint;
  readonly end: bigint;
  readonly newest: Position | null;
}

/**
 * @returns the checkpoint to continue from: brought onto the server's timeline, with a `throughLsn` that this timeline has;
 * and what changed of the captured tables without losing anything.
 * @throws one of the HaltErrors of errors.ts
 */
export function checkContinuity(
  checkpoint: Checkpoint,
  facts: ContinuityFacts,
): {
  readonly checkpoint: VerifiedCheckpoint;
  readonly warnings: readonly string[];
  /** The topic's id was not known yet, although something was published to it. */
  readonly isTopicLearnt: boolean;
} {
  const { source, slot, capture } = facts;
  if (source.systemIdentifier !== checkpoint.systemIdentifier || source.database !== checkpoint.database) {
    throw new SystemChangedError(source, checkpoint);
  }
  const throughLsn = throughLsnOnTimeline(checkpoint, source.timeline, source.history);
  const current: VerifiedCheckpoint = {
    ...checkpoint,
    throughLsn,
    timeline: source.timeline,
    history: source.history,
    capture: facts.capture.found,
    liveTopicId: facts.liveTopicId ?? checkpoint.liveTopicId,
  };
  if (source.flushLsn < throughLsn) throw new ServerBehindError(source.flushLsn, throughLsn);

  if (slot.plugin !== 'pgoutput' || slot.database !== checkpoint.database) {
    throw new SlotForeignError(slot.name, slot.plugin, slot.database);
  }
  if (slot.walStatus === 'lost' || slot.confirmedFlushLsn === null) {
    const reason = slot.invalidationReason ?? (slot.walStatus === 'lost' ? null : 'no position');
    const found = { reason, throughLsn, flushLsn: source.flushLsn };
    throw new SlotLostError(slot.name, { ...found, what: 'published' });
  }
  if (facts.isNewest && isSlotAhead(current, slot.confirmedFlushLsn)) {
    throw new SlotAheadError(slot.name, slot.confirmedFlushLsn, throughLsn);
  }
  const { differences, warnings } = compareCapture(checkpoint.capture, capture.found);
  if (differences.length > 0) {
    const moved = describeMoved(checkpoint.capture, capture.names);
    throw captureChanged(capture.publicationName, differences, moved, throughLsn, source.flushLsn);
  }
  if (facts.lastOrderExists === false) {
    throw new ContentsDifferError(
      'the last published order is not in it',
      checkpoint.lastPublished!.commitLsn,
      throughLsn,
    );
  }
  if (facts.live !== null) checkLiveTopic(checkpoint, facts.live, facts.liveTopicId);
  const isTopicLearnt =
    checkpoint.liveTopicId === null && current.liveTopicId !== null && checkpoint.lastPublished !== null;
  return { checkpoint: current, warnings, isTopicLearnt };
}

// A standby that was promoted continues where its timeline branched off. What was published must lie strictly before
// that point: a commit record that starts there belongs to the old timeline alone. An idle throughLsn beyond it is
// cut back, because the new timeline uses the positions after the branch again.
function throughLsnOnTimeline(checkpoint: Checkpoint, timeline: number, history: readonly TimelineSwitch[]): Lsn {
  if (timeline === checkpoint.timeline) return checkpoint.throughLsn;
  const branch = history.find((entry) => entry.timeline === checkpoint.timeline);
  const lastPublishedLsn = checkpoint.lastPublished?.commitLsn ?? null;
  const forked = { timeline, recordedTimeline: checkpoint.timeline, lastPublishedLsn };
  if (branch === undefined) throw new TimelineForkedError({ ...forked, branchLsn: null });
  if (lastPublishedLsn !== null && lastPublishedLsn >= branch.endsAtLsn) {
    throw new TimelineForkedError({ ...forked, branchLsn: branch.endsAtLsn });
  }
  return checkpoint.throughLsn > branch.endsAtLsn ? branch.endsAtLsn : checkpoint.throughLsn;
}

/** @throws LiveTopicChangedError when these are not the tails of the topic that was published to. */
export function checkLiveTopic(
  checkpoint: Checkpoint,
  tails: readonly PartitionTail[],
  liveTopicId: string | null,
): void {
  requireSameTopic(checkpoint, liveTopicId);
  if (tails.length < checkpoint.partitions) {
    throw new LiveTopicChangedError('it has fewer partitions', {
      found: tails.length,
      expected: checkpoint.partitions,
    });
  }
  let newest: Position | null = null;
  let emptiedByRetention = false;
  for (const tail of tails) {
    const recorded = findLeastEnd(checkpoint, tail.partition);
    if (tail.end < recorded) {
      throw new LiveTopicChangedError('a partition ends below its recorded offset', {
        partition: tail.partition,
        end: tail.end,
        recorded,
      });
    }
    if (tail.newest === null) emptiedByRetention ||= tail.earliest > 0n;
    else if (newest === null || isAfter(tail.newest, newest)) newest = tail.newest;
  }
  const last = checkpoint.lastPublished;
  const found = newest === null ? 'none' : `${formatLsn(newest.commitLsn)}:${newest.ordinal}`;
  const expected = last === null ? 'none' : `${formatLsn(last.commitLsn)}:${last.ordinal}`;
  if (found === expected) return;
  const isOlder =
    newest === null ||
    (last !== null && isAfter({ ...newest, commitLsn: last.commitLsn, ordinal: last.ordinal }, newest));
  if (isOlder && emptiedByRetention) return; // the newest event has expired; the offsets above prove that it was there
  throw new LiveTopicChangedError('its newest event is not the last published one', { found, expected });
}

/**
 * Where a partition ends at least, its last transaction included: the newest event of all partitions proves nothing of what
 * the same transaction wrote to the others, and a broker that dies may lose the end of one alone.
 */
export function findLeastEnd({ nextOffsets, endOffsets }: Checkpoint, partition: number): bigint {
  return endOffsets[partition] ?? nextOffsets[partition] ?? 0n;
}

/**
 * Compares Kafka's ids. A topic to which nothing was published may be created again: nothing is lost by it.
 * @throws LiveTopicChangedError
 */
export function requireSameTopic(
  { liveTopicId: expected, lastPublished }: Pick<Checkpoint, 'liveTopicId' | 'lastPublished'>,
  found: string | null,
): void {
  if (expected === null || found === null || found === expected || lastPublished === null) return;
  throw new LiveTopicChangedError('its name leads to a topic with another id', { found, expected });
}

function isAfter(a: Position, b: Position): boolean {
  return a.commitLsn === b.commitLsn ? a.ordinal > b.ordinal : a.commitLsn > b.commitLsn;
}

/**
 * Watches the transactions that are dropped because they were published before: where any of them holds orders, the
 * last of those must be the last published one, by position and by the hash of its order ids. A restored copy of the
 * files keeps timeline and LSNs, and writes other transactions at the same LSNs; only their contents differ.
 */
export class DropVerifier {
  readonly #checkpoint: Checkpoint;
  #hasDroppedOrders = false;
  #hasSeenLast = false;
  #isDone = false;

  constructor(checkpoint: Checkpoint) {
    this.#checkpoint = checkpoint;
  }

  /** A transaction with orders that lies before `throughLsn`. @throws ContentsDifferError */
  dropped(commitLsn: Lsn, orderIds: () => Iterable<string>): void {
    const { lastPublished: last, throughLsn } = this.#checkpoint;
    if (last === null || commitLsn > last.commitLsn) {
      throw new ContentsDifferError('it has an order at a place published without it', commitLsn, throughLsn);
    }
    this.#hasDroppedOrders = true;
    if (commitLsn < last.commitLsn) return;
    const hash = hashOrderIds();
    for (const orderId of orderIds()) addOrderId(hash, orderId);
    if (hash.digest('hex') !== last.ordersHash) {
      throw new ContentsDifferError('its orders at the last published position are others', commitLsn, throughLsn);
    }
    this.#hasSeenLast = true;
  }

  /** The stream has passed `throughLsn`. @throws ContentsDifferError */
  passed(): void {
    if (this.#isDone) return;
    this.#isDone = true;
    const { lastPublished: last, throughLsn, partial } = this.#checkpoint;
    if (this.#hasDroppedOrders && !this.#hasSeenLast && partial === null) {
      throw new ContentsDifferError('the last published transaction is not in it', last!.commitLsn, throughLsn);
    }
  }
}
