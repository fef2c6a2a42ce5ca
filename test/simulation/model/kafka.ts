// Kafka as clients see it: partitions whose offsets are taken by records, aborted ones and markers alike; transactions
// that end in two steps (decided by the coordinator, then a marker in each partition, which may come late); fencing by
// epoch; a last stable offset. The requests of clients, which may fail, are model-kafka-clients'.
import type { OutgoingRecord, SentTo } from '#kafka/producer/transactional-producer.ts';
import type { World } from '../world.ts';

export interface Entry {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly kind: 'record' | 'marker';
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly transaction: Transaction;
}

export interface Transaction {
  readonly id: number;
  outcome: 'open' | 'committed' | 'aborted';
  /** By name, the partitions that were written to and have no marker yet. */
  readonly unmarked: Set<Partition>;
  readonly written: Entry[];
}

export interface Partition {
  readonly topic: string;
  readonly partition: number;
  earliest: bigint;
  entries: Entry[];
}

/** As the reader asks for. */
export const TRANSACTION_TIMEOUT_MS = 5_000;
export const LIVE = 'orders.placed';
export const CHECKPOINTS = 'cdc.checkpoints.tillstream';

export class FencedError extends Error {}

/** Whether a partition's end is known of `entry`: markers are, and records of a transaction that ended there. */
const isStable = (entry: Entry, partition: Partition): boolean =>
  entry.kind === 'marker' || (entry.transaction.outcome !== 'open' && !entry.transaction.unmarked.has(partition));

/** Of 256 markers, how many come late, and how late: longer than a takeover takes. */
const LATE_MARKERS = 16;
const MARKER_DELAY_MS = 5_000;

export class ModelKafka {
  readonly topics = new Map<string, Partition[]>();
  /** Every transaction that was ever committed, in that order. */
  readonly committed: Transaction[] = [];
  /** Told that there is more to read. */
  readonly onGrowth = new Set<() => void>();
  readonly #world: World;
  #epoch = 0;
  #open: Transaction | null = null;
  #transactions = 0;
  /** Markers that are decided and not yet written. */
  readonly #pending: { transaction: Transaction; partition: Partition }[] = [];

  constructor(world: World, partitions: number) {
    this.#world = world;
    for (const [name, count] of [
      [LIVE, partitions],
      [CHECKPOINTS, 1],
    ] as const)
      this.createTopic(name, count);
  }

  createTopic(topic: string, count: number): void {
    const partitions = Array.from({ length: count }, (_, partition) => ({
      topic,
      partition,
      earliest: 0n,
      entries: [],
    }));
    this.topics.set(topic, partitions);
  }

  partition(topic: string, partition: number): Partition {
    return this.topics.get(topic)![partition]!;
  }

  end({ entries, earliest }: Partition): bigint {
    return (entries.at(-1)?.offset ?? earliest - 1n) + 1n;
  }

  lastStable(partition: Partition): bigint {
    return partition.entries.find((entry) => !isStable(entry, partition))?.offset ?? this.end(partition);
  }

  /** What read_committed gives from `from` to before `until`, and the entries that it went past. */
  read(partition: Partition, from: bigint, until: bigint): { passed: Entry[]; visible: Entry[] } {
    const passed = partition.entries.filter(({ offset }) => offset >= from && offset < until);
    const visible = passed.filter(({ kind, transaction }) => kind === 'record' && transaction.outcome === 'committed');
    return { passed, visible };
  }

  /** Fences every earlier owner; what it left open is aborted, and what it decided is finished first. */
  initialise(): number {
    this.#finishMarkers();
    if (this.#open !== null) this.#end(this.#open, 'aborted');
    this.#finishMarkers();
    this.#epoch += 1;
    return this.#epoch;
  }

  /** @param part how many of the partitions get their records before the rest fails; all if undefined */
  produce(epoch: number, transaction: Transaction | null, records: readonly OutgoingRecord[], part?: number) {
    if (epoch !== this.#epoch || this.#open !== transaction) throw new FencedError();
    this.#finishMarkers();
    const open = transaction ?? this.#begin();
    const sentTo = new Map<Partition, SentTo>();
    for (const { topic, partition: number, key, value } of records) {
      const partition = this.partition(topic, number);
      if (!sentTo.has(partition) && sentTo.size === part) continue;
      const entry = this.#append(partition, { kind: 'record', key: Buffer.from(key), value, transaction: open });
      if (!sentTo.has(partition)) sentTo.set(partition, { topic, partition: number, baseOffset: entry.offset });
      open.unmarked.add(partition);
      open.written.push(entry);
    }
    return { transaction: open, sentTo: [...sentTo.values()] };
  }

  #begin(): Transaction {
    const begun: Transaction = { id: ++this.#transactions, outcome: 'open', unmarked: new Set(), written: [] };
    this.#open = begun;
    const isOff = (): boolean => this.#open !== begun;
    this.#world.after(TRANSACTION_TIMEOUT_MS, 'the transaction times out', () => isOff() || this.timeOut(), { isOff });
    return begun;
  }

  endTransaction(epoch: number, transaction: Transaction | null, outcome: 'committed' | 'aborted'): void {
    if (epoch !== this.#epoch || this.#open !== transaction) throw new FencedError();
    if (transaction !== null) this.#end(transaction, outcome);
  }

  /** The broker ends a transaction that was open for too long, and fences its owner. */
  timeOut(): boolean {
    if (this.#open === null) return false;
    this.#epoch += 1;
    this.#end(this.#open, 'aborted');
    return true;
  }

  /** A record of somebody else, outside of any transaction. */
  writeForeign(partition: Partition, key: Buffer, value: Buffer): void {
    const transaction: Transaction = { id: 0, outcome: 'committed', unmarked: new Set(), written: [] };
    this.#append(partition, { kind: 'record', key, value, transaction });
    this.#grown();
  }

  deleteBefore(partition: Partition, offset: bigint): void {
    partition.earliest = offset;
    partition.entries = partition.entries.filter((entry) => entry.offset >= offset);
    this.#grown();
  }

  recreate(topic: string): void {
    this.createTopic(topic, this.topics.get(topic)!.length);
    this.#grown();
  }

  #end(transaction: Transaction, outcome: 'committed' | 'aborted'): void {
    this.#open = null;
    transaction.outcome = outcome;
    if (outcome === 'committed') this.committed.push(transaction);
    for (const partition of transaction.unmarked) {
      const label = `marker of ${partition.topic}[${partition.partition}]`;
      this.#pending.push({ transaction, partition });
      const run = (): void => this.#mark(transaction, partition);
      // A coordinator that dies right after its answer leaves the markers to its successor, or to its own restart.
      if (this.#world.chance(LATE_MARKERS)) this.#world.after(MARKER_DELAY_MS, label, run);
      else this.#world.enqueue({ label, run });
    }
  }

  #mark(transaction: Transaction, partition: Partition): void {
    if (!transaction.unmarked.delete(partition)) return;
    this.#append(partition, { kind: 'marker', key: null, value: null, transaction });
    this.#grown();
  }

  #finishMarkers(): void {
    for (const { transaction, partition } of this.#pending.splice(0)) this.#mark(transaction, partition);
  }

  #append(partition: Partition, entry: Omit<Entry, 'offset' | 'topic' | 'partition'>): Entry {
    const appended = { ...entry, topic: partition.topic, partition: partition.partition, offset: this.end(partition) };
    partition.entries.push(appended);
    return appended;
  }

  #grown(): void {
    for (const hear of this.onGrowth) hear();
  }
}
