// What is received and not yet published, in groups: whole database transactions that go into one Kafka transaction (group
// commit). At rest a single order leaves at once; while a group is in flight the next one grows, up to a bound of orders
// and bytes. Guarantees: a transaction is never split between groups, groups leave in commit order, and one that asks for
// it is a group alone. Holds the little that intake and publishing share; pausing the stream is theirs.
import { setTimeout as delay } from 'node:timers/promises';
import { LSN_ZERO, type Lsn, maxLsn } from '#schemas/lsn.ts';
import type { EventRecord } from '../encode/encode-event.ts';
import { UnpublishableError } from '../encode/unpublishable-errors.ts';

/** A database transaction ready to be published: encoded, or, above the bounds of a group, still to be read. */
export interface PreparedTransaction {
  readonly commitLsn: Lsn;
  readonly endLsn: Lsn;
  readonly committedAt: bigint;
  readonly orders: number;
  readonly bytes: number;
  /** Must have a group for itself: it is above the bounds, was refused in a group, or was partly published before. */
  readonly isAlone: boolean;
  readonly events: readonly EventRecord[];
  /** Instead of its events. */
  readonly huge: HugeTransaction | undefined;
}

/** Its events are read while they are sent. */
export interface HugeTransaction {
  readonly commitLsn: Lsn;
  readonly orders: number;
  /** Events below it were published with an earlier, partial checkpoint. */
  readonly fromOrdinal: number;
  events(): Iterable<EventRecord>;
  close(): void;
}

/** What goes into one Kafka transaction. Of its transactions it keeps what a checkpoint needs: thousands are one array. */
export interface Group {
  readonly events: readonly EventRecord[];
  readonly huge: HugeTransaction | undefined;
  readonly transactions: number;
  readonly orders: number;
  readonly bytes: number;
  readonly isAlone: boolean;
  readonly first: Pick<PreparedTransaction, 'commitLsn' | 'committedAt'>;
  /** The last transaction, and where its events begin. */
  readonly last: { readonly commitLsn: Lsn; readonly fromIndex: number };
  /** The end of the last transaction, or further where only transactions without orders followed. */
  readonly throughLsn: Lsn;
}

type OpenGroup = { -readonly [K in keyof Group]: Group[K] } & { readonly events: EventRecord[] };

export class Queue {
  readonly #bounds: { readonly maxOrders: number; readonly maxBytes: number };
  readonly #groups: OpenGroup[] = [];
  #inFlight: Group | undefined;
  #bytes = 0;
  #wake = Promise.withResolvers<void>();
  #refusal: { readonly error: UnpublishableError; readonly xid: number | undefined } | undefined;
  /** How far the stream has come while nothing was pending: progress without orders. */
  idleLsn: Lsn = LSN_ZERO;
  /** Postgres has requested a reply, which takes recorded progress. */
  isReplyWanted = false;
  /** What the stream reports meanwhile is no idle progress. */
  isPublishing = false;

  /** @param bounds how many orders and bytes one group may hold, unless it is a single transaction. */
  constructor(bounds: { maxOrders: number; maxBytes: number }) {
    this.#bounds = bounds;
  }

  add(transaction: PreparedTransaction): void {
    const { commitLsn, committedAt, orders, bytes, isAlone, events, huge, endLsn } = transaction;
    this.#bytes += bytes;
    const open = this.#groups.at(-1);
    if (open !== undefined && this.#fits(open, transaction)) {
      open.last = { commitLsn, fromIndex: open.events.length };
      for (const event of events) open.events.push(event);
      open.transactions += 1;
      open.orders += orders;
      open.bytes += bytes;
      open.throughLsn = endLsn;
    } else {
      const first = { commitLsn, committedAt };
      const last = { commitLsn, fromIndex: 0 };
      const group = { events: [...events], huge, transactions: 1, orders, bytes, isAlone, first, last };
      this.#groups.push({ ...group, throughLsn: endLsn });
    }
    this.wake();
  }

  #fits(group: Group, transaction: PreparedTransaction): boolean {
    if (transaction.isAlone || group.isAlone) return false;
    const { maxOrders, maxBytes } = this.#bounds;
    return group.orders + transaction.orders <= maxOrders && group.bytes + transaction.bytes <= maxBytes;
  }

  /** The stream has passed a transaction without orders. Moves the last group only; with none, it is idle progress. */
  advance(endLsn: Lsn): void {
    const last = this.#groups.at(-1);
    if (last !== undefined) last.throughLsn = maxLsn(last.throughLsn, endLsn);
  }

  /** The oldest group, which is in flight until the next call. */
  take(): Group | undefined {
    this.#inFlight = this.#groups.shift();
    this.#bytes -= this.#inFlight?.bytes ?? 0;
    return this.#inFlight;
  }

  /** Drops what is not in flight, when it can't be published or will be received again. */
  discard(): void {
    for (const group of this.#groups.splice(0)) group.huge?.close();
    this.#bytes = 0;
  }

  /**
   * Nothing behind what is pending can be published.
   * @param xid of the transaction that can't be, where it has come just now
   * @throws `error`, unless it is one that a transaction brings
   */
  refuse(error: unknown, xid?: number): void {
    if (!(error instanceof UnpublishableError)) throw error;
    this.#refusal = { error, xid };
    this.wake();
  }

  get refusal(): { readonly error: UnpublishableError; readonly xid: number | undefined } | undefined {
    return this.#refusal;
  }

  get isIdle(): boolean {
    return this.#groups.length === 0 && !this.isPublishing && this.#refusal === undefined;
  }

  /** Whether the stream should be paused: as much is pending as the next two groups may hold. */
  get isFull(): boolean {
    return this.#groups.length > 2 || this.#bytes >= 2 * this.#bounds.maxBytes;
  }

  /** Of the group in flight too. */
  get bytes(): number {
    return this.#bytes + (this.#inFlight?.bytes ?? 0);
  }

  /** Of the group in flight too. */
  get orders(): number {
    let sum = this.#inFlight?.orders ?? 0;
    for (const { orders } of this.#groups) sum += orders;
    return sum;
  }

  get oldest(): Group['first'] | undefined {
    return (this.#inFlight ?? this.#groups[0])?.first;
  }

  wake(): void {
    this.#wake.resolve();
  }

  /** Until there is something to do, at most `limitMs`. Resolves to whether it was woken. */
  async waitForWork(limitMs: number): Promise<boolean> {
    const timer = new AbortController();
    const limit = delay(limitMs, false, { signal: timer.signal }).catch(() => false); // aborted below
    const isWoken = await Promise.race([this.#wake.promise.then(() => true), limit]);
    timer.abort();
    return isWoken;
  }

  /** What is added from here on wakes the next waitForWork(). */
  startPublishing(): void {
    this.isPublishing = true;
    this.#wake = Promise.withResolvers();
  }
}
