// The orders database as its clients see it: a log of commits whose places may be adjacent, one replication slot that
// redelivers whole transactions from where it was confirmed, sessions that a restart ends. A restart may forget the last
// confirmations, as Postgres's slots do; a promotion begins a new timeline. What goes over the stream is model-stream's.
import { type Lsn, toLsn } from '#schemas/lsn.ts';
import type { TimelineSwitch } from '#schemas/timeline.ts';
import { exampleCapture } from '../../support/examples/capture.ts';
import type { Process, World } from '../world.ts';

export interface PlacedItem {
  readonly lineNo: number;
  readonly sku: string;
  readonly quantity: number;
  readonly cartLineId: string | null;
}

export interface PlacedOrder {
  readonly orderId: string;
  readonly userId: string;
  readonly source: string;
  readonly items: readonly PlacedItem[];
}

export interface Commit {
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  readonly timeline: number;
  readonly orders: readonly PlacedOrder[];
  /** Whether a transaction without orders is streamed at all: newer servers leave empty ones out. */
  readonly isStreamed: boolean;
  /** Its rows are left out: their tables were not in the publication. */
  readonly isHidden?: boolean;
}

export interface Slot {
  /** Before it, no server can decode for this slot. */
  readonly createdLsn: bigint;
  confirmedLsn: bigint;
  /** Where the slot stands after a restart that loses the last confirmations. */
  storedLsn: bigint;
  holder: Connection | null;
  isLost: boolean;
}

/** A connection of a process; `isOpen` as the server sees it. */
export class Connection {
  isOpen = true;
  readonly process: Process;
  readonly #world: World;
  readonly #onEnd: (error: Error | undefined) => void;

  /** @param onEnd runs at the server; with an error, the process is to be told. */
  constructor(world: World, process: Process, onEnd: (error: Error | undefined) => void) {
    this.process = process;
    this.#world = world;
    this.#onEnd = onEnd;
    process.onDeath.push(() => this.end(undefined));
  }

  end(error: Error | undefined): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#onEnd(error);
  }

  /** Something for the process to do about this connection. */
  tell(label: string, run: () => void): void {
    this.#world.enqueue({ owner: this.process, label, run });
  }
}

/** Bytes of a commit record, and of the one that tells the transactions that are running. */
const COMMIT_BYTES = 48n;
const RUNNING_TRANSACTIONS_BYTES = 56;

export class ModelPostgres {
  systemIdentifier = '7310';
  timeline = 1;
  history: readonly TimelineSwitch[] = [];
  /** The end of the log. */
  end = 0x1000n;
  wal: Commit[] = [];
  slot: Slot | null = null;
  capture = exampleCapture();
  lockHolder: Connection | null = null;
  readonly connections = new Set<Connection>();
  readonly world: World;
  /** Told that there is more to stream. */
  readonly onGrowth = new Set<() => void>();
  /** Told of each confirmation, before it counts (I7). */
  onConfirmed: (throughLsn: bigint) => void = () => undefined;

  constructor(world: World) {
    this.world = world;
  }

  /** One transaction; `gapBytes` 0 puts its commit record right at the end of the one before. */
  commit(orders: readonly PlacedOrder[], gapBytes: number, isStreamed = true): void {
    const commitLsn = toLsn(this.end + BigInt(gapBytes));
    const endLsn = toLsn(commitLsn + COMMIT_BYTES);
    this.wal.push({ commitLsn, endLsn, timeline: this.timeline, orders, isStreamed });
    this.end = endLsn;
    this.#grown();
  }

  /** Log that belongs to nobody here: a busy neighbour. */
  writeOther(bytes: number): void {
    this.end += BigInt(bytes);
    this.#grown();
  }

  /** Takes the rows of the newest transaction out of the stream. */
  hide(commit: Commit): void {
    this.wal[this.wal.indexOf(commit)] = { ...commit, isHidden: true };
  }

  /** Finding the consistent point writes to the log, so no two slots ever begin at one place. */
  createSlot(): Lsn {
    this.writeOther(RUNNING_TRANSACTIONS_BYTES);
    this.slot = { createdLsn: this.end, confirmedLsn: this.end, storedLsn: this.end, holder: null, isLost: false };
    return toLsn(this.end);
  }

  confirm(throughLsn: bigint): void {
    const { slot } = this;
    if (slot === null || throughLsn <= slot.confirmedLsn) return;
    this.onConfirmed(throughLsn);
    if (this.world.chance(128)) slot.storedLsn = slot.confirmedLsn;
    slot.confirmedLsn = throughLsn;
  }

  connect(process: Process, onEnd: (error: Error | undefined) => void): Connection {
    const connection = new Connection(this.world, process, (error) => {
      this.connections.delete(connection);
      if (this.slot?.holder === connection) this.slot.holder = null;
      if (this.lockHolder === connection) this.lockHolder = null;
      onEnd(error);
    });
    this.connections.add(connection);
    return connection;
  }

  endConnections(why: string, process?: Process): void {
    for (const connection of [...this.connections]) {
      if (process === undefined || connection.process === process) connection.end(new Error(why));
    }
  }

  restart(): void {
    this.endConnections('the server was restarted');
    if (this.slot !== null) this.slot.confirmedLsn = this.slot.storedLsn;
  }

  /** No server on another timeline can have less of the log than this and still have the slot. */
  get leastBranchLsn(): bigint {
    const last: bigint = this.history.at(-1)?.endsAtLsn ?? 0n;
    const created = this.slot?.createdLsn ?? 0n;
    return last > created ? last : created;
  }

  /** A standby takes over that has the log up to `branchLsn`, with a slot that was synchronised before. */
  promote(branchLsn: bigint): void {
    this.endConnections('the primary is gone');
    this.wal = this.wal.filter(({ commitLsn }) => commitLsn < branchLsn);
    this.history = [...this.history, { timeline: this.timeline, endsAtLsn: toLsn(branchLsn) }];
    this.timeline += 1;
    this.end = branchLsn;
    const { slot } = this;
    if (slot === null) return;
    slot.confirmedLsn = slot.storedLsn = slot.storedLsn < branchLsn ? slot.storedLsn : branchLsn;
  }

  /** A copy of the files is put back: timeline and places are used again, for other transactions. */
  restoreFiles(copyLsn: bigint): void {
    this.endConnections('the server was stopped');
    this.wal = this.wal.filter(({ endLsn }) => endLsn <= copyLsn);
    this.end = copyLsn;
    const { slot } = this;
    if (slot !== null) slot.confirmedLsn = slot.storedLsn = slot.storedLsn < copyLsn ? slot.storedLsn : copyLsn;
  }

  #grown(): void {
    for (const hear of this.onGrowth) hear();
  }
}
