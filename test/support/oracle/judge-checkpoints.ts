// Does the checkpoint topic tell the truth about the live topic and the slot? Pure: facts in, findings out. I5: events and
// the checkpoint that covers them become visible together, so no checkpoint may lag behind an offset that it names, and
// the newest one ends exactly where the topic does. I7: Postgres was told "flushed" for no more than it covers.

import { comparePlaces, lsnText, type OrderEvent, type Published, place, positionText } from './event.ts';
import { type Facts, lsnFromText } from './facts.ts';
import type { Findings } from './verdict.ts';

/** The checkpoint record's fields that the oracle relies on. */
export interface Checkpoint {
  /** intent and snapshot: a first start, which may begin anew. */
  readonly state: 'intent' | 'snapshot' | 'streaming';
  readonly timeline: number;
  readonly generation: number;
  readonly partitions: number;
  readonly lastPublished: { readonly commitLsn: string; readonly ordinal: number } | null;
  readonly throughLsn: string;
  /** By partition: the events of the checkpoint's own Kafka transaction, and later ones, lie from here on. */
  readonly nextOffsets: readonly string[];
  /** Of a transaction that is published up to this ordinal. */
  readonly partial?: { readonly commitLsn: string; readonly ordinal: number } | null;
  /** Commits that an operator has accepted as missing from the live topic: from the first on, before the second. */
  readonly gaps?: readonly { readonly fromLsn: string; readonly toLsn: string }[];
}

/** All committed checkpoints of the slot, oldest first. */
export function readCheckpoints(facts: Facts, findings: Findings): Checkpoint[] {
  findings.expect('I5', facts.checkpoints.length <= 1, () => 'the checkpoint topic has more than one partition');
  const records = facts.checkpoints.flatMap(({ records }) => records);
  const own = records.filter(({ outcome, key }) => outcome === 'committed' && key?.toString('utf8') === facts.slotName);
  findings.count('checkpoints', own.length);
  return own.flatMap(({ value }) => (value === null ? [] : [JSON.parse(value.toString('utf8')) as Checkpoint]));
}

/** The commit positions that stand for the snapshot of a first start, not for one transaction. */
export function snapshotCommits(checkpoints: readonly Checkpoint[]): ReadonlySet<bigint> {
  const snapshots = checkpoints.filter(({ state }) => state === 'snapshot');
  return new Set(snapshots.flatMap(({ lastPublished: last }) => (last === null ? [] : [lsnFromText(last.commitLsn)])));
}

/** I5: events and the checkpoint that covers them are visible together. I7: Postgres was told no more than that. */
export function judgeCheckpoints(
  facts: Facts,
  checkpoints: readonly Checkpoint[],
  published: ReadonlyMap<number, readonly Published[]>,
  findings: Findings,
): void {
  const latest = checkpoints.at(-1);
  const newest = [...published.values()]
    .flatMap((events) => events.at(-1)?.event ?? [])
    .toSorted(comparePlaces)
    .at(-1);
  if (latest === undefined) {
    findings.expect('I5', newest === undefined, () => 'there are events and no checkpoint');
    findings.expect(
      'I7',
      facts.confirmedFlushLsn === undefined || newest === undefined,
      () => 'no checkpoint covers the slot',
    );
    return;
  }
  for (const [index, checkpoint] of checkpoints.entries()) {
    const before = checkpoints[index - 1];
    // A first start publishes its snapshot before it knows where the stream will go on.
    const comparable = before !== undefined && before.state !== 'intent' && checkpoint.state === 'streaming';
    if (comparable && isAdopted(before, checkpoint)) judgeAdopted(before, checkpoint, findings);
    else if (comparable) judgeCover(before, checkpoint, published, findings);
  }
  const last = latest.lastPublished;
  const lastText = last === null ? 'nothing' : `${last.commitLsn}:${last.ordinal}`;
  findings.expect(
    'I5',
    newest === undefined ? last === null : coverage(latest, newest) === 0,
    () => `the checkpoint ends at ${lastText}, the topic at ${newest === undefined ? 'nothing' : positionText(newest)}`,
  );
  for (const { partition, highWatermark } of facts.live) {
    const next = BigInt(latest.nextOffsets[partition] ?? 0);
    findings.expect(
      'I5',
      next <= highWatermark,
      () => `the checkpoint expects offset ${next} in partition ${partition}, which ends at ${highWatermark}`,
    );
  }
  const throughLsn = lsnFromText(latest.throughLsn);
  findings.expect('I5', latest.state === 'streaming', () => `the first start is unfinished: ${latest.state}`);
  findings.expect(
    'I7',
    last === null || throughLsn > lsnFromText(last.commitLsn),
    () => `throughLsn ${latest.throughLsn} does not cover the last published commit ${lastText}`,
  );
  for (const [index, { throughLsn: text, timeline }] of checkpoints.entries()) {
    const before = checkpoints[index - 1];
    // Another timeline may begin before the idle position that was reached on the old one.
    const comparable = before?.timeline === timeline && before.state === 'streaming';
    const backwards = comparable && lsnFromText(text) < lsnFromText(before.throughLsn);
    findings.expect('I7', !backwards, () => `throughLsn went back from ${before?.throughLsn} to ${text}`);
  }
  const confirmed = facts.confirmedFlushLsn;
  findings.expect(
    'I7',
    confirmed === undefined || confirmed <= throughLsn,
    () => `Postgres was told ${lsnText(confirmed!)}, and the checkpoint covers ${latest.throughLsn}`,
  );
}

/** Whether an operator has accepted a gap between the two: no reader wrote the later one, and nothing was published. */
export function isAdopted(earlier: Checkpoint | undefined, later: Checkpoint): boolean {
  return later.gaps?.at(-1)?.toLsn !== earlier?.gaps?.at(-1)?.toLsn;
}

function judgeAdopted(earlier: Checkpoint, later: Checkpoint, findings: Findings): void {
  const ends = ({ lastPublished: last }: Checkpoint) =>
    last === null ? 'nothing' : `${last.commitLsn}:${last.ordinal}`;
  findings.expect(
    'I5',
    ends(earlier) === ends(later),
    () => `the checkpoint ended at ${ends(earlier)}, an operator's ends at ${ends(later)}`,
  );
}

/** Negative when the checkpoint ends before the event, 0 at it, positive after it; LSNs go on across timelines. */
function coverage({ lastPublished }: Checkpoint, event: OrderEvent): number {
  if (lastPublished === null) return -1;
  const commitLsn = lsnFromText(lastPublished.commitLsn);
  if (commitLsn !== event.commitLsn) return commitLsn < event.commitLsn ? -1 : 1;
  return lastPublished.ordinal - event.ordinal;
}

/** Between two checkpoints: the earlier one ends exactly where the transaction of the later one begins, in each partition. */
function judgeCover(
  earlier: Checkpoint,
  later: Checkpoint,
  published: ReadonlyMap<number, readonly Published[]>,
  findings: Findings,
): void {
  for (const [partition, events] of published) {
    const index = countBefore(events, BigInt(later.nextOffsets[partition] ?? 0));
    const [before, after] = [events[index - 1], events[index]];
    const covered = before === undefined || coverage(earlier, before.event) >= 0;
    findings.expect('I5', covered, () => `${place(before!)} was visible before the checkpoint that covers it`);
    const behind = after === undefined || coverage(earlier, after.event) < 0;
    findings.expect('I5', behind, () => `${place(after!)} became visible after the checkpoint that covers it`);
  }
}

function countBefore(events: readonly Published[], offset: bigint): number {
  let [low, high] = [0, events.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (events[middle]!.offset < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}
