// What would be lost, and what holds things up: the WAL that slots keep against their limits, how far back replays reach, and open
// Kafka transactions that consumers wait behind. Pure. A figure that the reader did not give is null.
import { formatLsn, toLsn } from '#schemas/lsn.ts';
import { findValue, type Samples } from './prometheus-text.ts';
import { atOf, type Round, readerOf, streamingReaderOf } from './rounds.ts';

interface SlotLine {
  readonly slot: string;
  readonly walStatus: string;
  readonly retainedBytes: number | null;
  /** WAL that can be written before the limit endangers the slot; null: no limit. */
  readonly safeBytes: number | null;
  /** At the rate of the last minute; null: no limit, or nothing is written. */
  readonly secondsLeft: number | null;
  readonly catalogXminAge: number | null;
}

/** It holds the last stable offset of a partition of the live topic: consumers wait behind it. */
interface OpenTransactionLine {
  readonly partition: number;
  readonly producerId: string;
  readonly producerEpoch: string;
  /** The reader that shows it. */
  readonly isThisReader: boolean;
  readonly seconds: number;
  readonly startOffset: number | null;
}

export interface Safety {
  /** When the slots were read: ISO 8601. */
  readonly slotsAt: string | null;
  readonly slots: readonly SlotLine[];
  /** By source, the oldest position from which everything can be replayed; null: only a reader that streams knows. */
  readonly replayableFrom: Readonly<Record<string, string>> | null;
  /** Partitions that are held up; null: Kafka does not tell. */
  readonly heldPartitions: number | null;
  /** The oldest first. */
  readonly openTransactions: readonly OpenTransactionLine[];
}

const MOST_TRANSACTIONS = 5;

/** @param minuteAgo for the rate at which WAL is written */
export function describeSafety(minuteAgo: Round, round: Round): Safety {
  const reader = readerOf(round);
  const slotsAtSeconds = reader && findValue(reader, 'tillstream_reader_slot_sampled_at_seconds');
  return {
    slotsAt: slotsAtSeconds === undefined ? null : new Date(slotsAtSeconds * 1_000).toISOString(),
    slots: listSlots(minuteAgo, round),
    replayableFrom: listReplayable(round),
    ...listOpenTransactions(reader),
  };
}

function listSlots(minuteAgo: Round, round: Round): SlotLine[] {
  const reader = readerOf(round);
  // Before its first start a reader has no slot, and that is no loss.
  if (reader === undefined || isStarting(round)) return [];
  const before = readerOf(minuteAgo);
  const written = (samples: Samples | undefined) =>
    samples && findValue(samples, 'tillstream_reader_position_lsn', { stage: 'written' });
  const [first, last] = [written(before), written(reader)];
  const seconds = (atOf(round) - atOf(minuteAgo)) / 1_000;
  const perSecond = first === undefined || last === undefined || seconds <= 0 ? 0 : (last - first) / seconds;
  return (reader.get('tillstream_reader_slot_wal_status') ?? []).map(({ labels }) => {
    const { slot = '', wal_status: walStatus = '' } = labels;
    const read = (name: string) => findValue(reader, `tillstream_reader_slot_${name}`, { slot }) ?? null;
    const safeBytes = read('safe_wal_bytes');
    return {
      slot,
      walStatus,
      retainedBytes: read('retained_bytes'),
      safeBytes,
      secondsLeft: safeBytes === null || perSecond <= 0 ? null : Math.max(0, safeBytes / perSecond),
      catalogXminAge: read('catalog_xmin_age'),
    };
  });
}

function isStarting(round: Round): boolean {
  const reader = readerOf(round);
  const reading = round.find(({ answer }) => answer?.metrics === reader);
  const statuses = reader?.get('tillstream_reader_slot_wal_status') ?? [];
  const isMissing = statuses.some(({ labels }) => labels.slot === 'live' && labels.wal_status === 'missing');
  return isMissing && reading?.answer?.pipeline.state === 'starting';
}

function listReplayable(round: Round): Record<string, string> | null {
  const reader = streamingReaderOf(round);
  if (reader === undefined) return null;
  const oldest = reader.get('tillstream_reader_replay_oldest_lsn') ?? [];
  return Object.fromEntries(
    oldest.map(({ labels, value }) => [labels.source ?? '', formatLsn(toLsn(BigInt(Math.round(value))))]),
  );
}

function listOpenTransactions(reader: Samples | undefined): Pick<Safety, 'heldPartitions' | 'openTransactions'> {
  const starts = reader?.get('tillstream_reader_open_transaction_start_offset') ?? [];
  const open = (reader?.get('tillstream_reader_open_transaction_seconds') ?? []).map(({ labels, value }) => ({
    partition: Number(labels.partition),
    producerId: labels.producer ?? '',
    producerEpoch: labels.epoch ?? '',
    isThisReader: labels.owner === 'this-reader',
    seconds: value,
    startOffset: starts.find((one) => one.labels.partition === labels.partition)?.value ?? null,
  }));
  return {
    heldPartitions: (reader && findValue(reader, 'tillstream_reader_open_transactions')) ?? null,
    openTransactions: open.toSorted((a, b) => b.seconds - a.seconds).slice(0, MOST_TRANSACTIONS),
  };
}
