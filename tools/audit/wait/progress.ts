// Whether the pipeline has passed the moment of the audit's snapshot, and what is probably wrong where it has not. Pure:
// positions and offsets in, words out. An order of the snapshot has its commit record before `targetLsn`; a checkpoint
// with `throughLsn` at or beyond that was committed with its event; the event lies below the partition's high watermark
// read after that checkpoint. (Not below its last stable offset: each partition gets its commit marker in its own time.)
import { formatLsn, type Lsn, toLsn } from '#schemas/lsn.ts';

const PAGE_BYTES = 8_192n;
/** A page's header, and that of a segment's first page. */
const PAGE_HEADERS: readonly bigint[] = [24n, 40n];

/**
 * The end of the log as a stream can reach it. At a page's end Postgres shows where the next record will start, behind
 * the header of a page that nothing is on yet: on an idle server no stream ever gets there. No record fits in between.
 */
export function settleWalEnd(walEnd: Lsn): Lsn {
  const inPage = walEnd % PAGE_BYTES;
  return PAGE_HEADERS.includes(inPage) ? toLsn(walEnd - inPage) : walEnd;
}

export interface ReaderProgress {
  /** Null without a checkpoint that streams. */
  readonly throughLsn: Lsn | null;
  /** Null when there is no such slot. */
  readonly slot: { readonly active: boolean; readonly walStatus: string | null } | null;
}

export interface PartitionProgress {
  readonly partition: number;
  /** What a sink has stored; null before any took the partition. */
  readonly nextOffset: bigint | null;
  readonly earliest: bigint;
  /** Where it has to get to. */
  readonly target: bigint;
}

export function hasReaderPassed({ throughLsn }: ReaderProgress, targetLsn: Lsn): boolean {
  return throughLsn !== null && throughLsn >= targetLsn;
}

/** The partitions whose sinks have not got to their target. A partition that never held a record needs nobody. */
export function findBehind(partitions: readonly PartitionProgress[]): PartitionProgress[] {
  return partitions.filter(({ nextOffset, target }) => (nextOffset ?? 0n) < target);
}

/** One line on where the wait stands. `partitions` is null while the reader has not passed. */
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

/** How far each is, and what is probably wrong. Empty when everything has passed. */
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
  return `${at}; a reader streams from the slot ${slotName}: it works on a backlog, waits for Kafka, or a transaction is very large`;
}

function explainPartition({ partition, nextOffset, earliest, target }: PartitionProgress): string {
  const at = `the sink of partition ${partition} is at offset ${nextOffset ?? 'none'} of ${target}`;
  if (nextOffset === null) return `${at}: no sink of this CONSUMER_GROUP has ever taken it`;
  if (nextOffset < earliest)
    return `${at}, and Kafka begins at ${earliest}: the sinks have halted (npm run adopt -- sink)`;
  return `${at}: no sink is running, it has halted (see its /health/ready), or it works on a backlog`;
}
