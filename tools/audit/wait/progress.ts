// Whether the pipeline has passed the audit's snapshot, and if not, what is probably wrong. Pure: positions and offsets in,
// messages out. An order of the snapshot has its commit record before `targetLsn`; a checkpoint
// with `throughLsn` at or beyond that was committed with its event; the event lies below the partition's high watermark
// read after that checkpoint. (Not below its last stable offset: each partition gets its commit marker in its own time.)
import { formatLsn, type Lsn } from '#schemas/lsn.ts';

export interface ReaderProgress {
  /** Null without a checkpoint in state streaming. */
  readonly throughLsn: Lsn | null;
  /** Null if there is no such slot. */
  readonly slot: { readonly active: boolean; readonly walStatus: string | null } | null;
}

export interface PartitionProgress {
  readonly partition: number;
  /** The stored offset; null if no sink was ever assigned the partition. */
  readonly nextOffset: bigint | null;
  readonly earliest: bigint;
  /** The offset to reach. */
  readonly target: bigint;
}

export function hasReaderPassed({ throughLsn }: ReaderProgress, targetLsn: Lsn): boolean {
  return throughLsn !== null && throughLsn >= targetLsn;
}

/** The partitions whose sinks have not reached the target. One that never held a record needs no sink. */
export function findBehind(partitions: readonly PartitionProgress[]): PartitionProgress[] {
  return partitions.filter(({ nextOffset, target }) => (nextOffset ?? 0n) < target);
}

/** The progress in one line. `partitions` is null while the reader has not passed. */
export function formatProgress(
  targetLsn: Lsn,
  reader: ReaderProgress,
  partitions: readonly PartitionProgress[] | null,
): string {
  const through = reader.throughLsn === null ? 'no checkpoint' : formatLsn(reader.throughLsn);
  if (partitions === null) return `waiting for the reader: ${through} of ${formatLsn(targetLsn)}`;
  const behind = findBehind(partitions);
  const records = behind.reduce((sum, { nextOffset, target }) => sum + target - (nextOffset ?? 0n), 0n);
  return `waiting for the sinks: ${partitions.length - behind.length} of ${partitions.length} partitions, ${records} records to go`;
}

/** How far each is, and what is probably wrong. Empty if everything has passed. */
export function explainDelay(
  targetLsn: Lsn,
  slotName: string,
  reader: ReaderProgress,
  partitions: readonly PartitionProgress[] | null,
): string[] {
  if (!hasReaderPassed(reader, targetLsn)) return [explainReader(targetLsn, slotName, reader)];
  return findBehind(partitions ?? []).map(explainPartition);
}

function explainReader(targetLsn: Lsn, slotName: string, { throughLsn, slot }: ReaderProgress): string {
  const at =
    throughLsn === null
      ? `there is no checkpoint of ${slotName} yet`
      : `the reader has published through ${formatLsn(throughLsn)}, ${targetLsn - throughLsn} bytes before the snapshot's end at ${formatLsn(targetLsn)}`;
  if (slot === null) return `${at}; the slot ${slotName} does not exist: the reader was never started, or has halted`;
  if (slot.walStatus === 'lost')
    return `${at}; the slot ${slotName} is lost: the reader has halted (npm run adopt -- reader)`;
  if (!slot.active)
    return `${at}; nobody streams from the slot ${slotName}: the reader is down, or has halted (see its /health/ready)`;
  return `${at}; a reader streams from the slot ${slotName}: it has a backlog, waits for Kafka, or a transaction is very large`;
}

function explainPartition({ partition, nextOffset, earliest, target }: PartitionProgress): string {
  const at = `the sink of partition ${partition} is at offset ${nextOffset ?? 'none'} of ${target}`;
  if (nextOffset === null) return `${at}: no sink of this CONSUMER_GROUP was ever assigned it`;
  if (nextOffset < earliest)
    return `${at}, and Kafka begins at ${earliest}: the sinks have halted (npm run adopt -- sink)`;
  return `${at}: no sink is running, it has halted (see its /health/ready), or it has a backlog`;
}
