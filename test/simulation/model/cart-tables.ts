// The rows of the carts database, and what each of the sink's statements does to them. Statements change nothing by
// themselves: they give changes, which a commit puts in place and writes into the journal, so that the judge can go
// through history again. A batch's place in the journal is the moment at which it locked the cart lines.
import type { Removal } from '../../../cart-sink/rule/reduce-cart.ts';
import type { LockedLinesRow, UserSkus } from '../../../cart-sink/sql/cart-lines.ts';
import type { OffsetStep, Ownership, TopicPartition } from '../../../cart-sink/sql/consumer-offsets.ts';
import { uuid } from '../../support/examples/pgoutput-messages.ts';

/** One of cart-sink/sql's, by the name of its export. */
export interface Statement {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: each statement has its own arguments
  readonly args: readonly any[];
}

export interface OffsetRow {
  readonly topic: string;
  readonly partition: number;
  readonly next_offset: bigint;
  readonly owner_epoch: bigint;
  readonly last_timeline: number | null;
  readonly last_commit_lsn: string | null;
  readonly last_ordinal: number | null;
  readonly generation: number | null;
}

export interface Line {
  readonly lineId: string;
  readonly userId: string;
  readonly sku: string;
  readonly quantity: number;
}

export type Change =
  | { readonly kind: 'offset'; readonly row: OffsetRow }
  | { readonly kind: 'ledger'; readonly orderId: string }
  | { readonly kind: 'line'; readonly lineId: string; readonly quantity: number }
  | { readonly kind: 'removal'; readonly removal: Removal }
  | { readonly kind: 'parked'; readonly offset: bigint }
  | { readonly kind: 'locked'; readonly at: number };

export type JournalEntry =
  | { readonly kind: 'added'; readonly at: number; readonly line: Line }
  | {
      readonly kind: 'batch';
      readonly at: number;
      readonly orderIds: readonly string[];
      readonly removals: readonly Removal[];
      readonly moved: readonly OffsetRow[];
    };

interface Result {
  readonly rows: unknown[];
  readonly changes: Change[];
}

const offsetKey = ({ topic, partition }: TopicPartition): string => `offset ${topic}[${partition}]`;
const NOTHING: Result = { rows: [], changes: [] };

const joinList = (values: readonly (string | number)[]): string | null =>
  values.length === 0 ? null : values.join(',');

function formatLocked({ userIds, skus }: UserSkus, lines: readonly Line[]): LockedLinesRow {
  const place = (line: Line) => skus.findIndex((sku, index) => sku === line.sku && userIds[index] === line.userId) + 1;
  return {
    numbers: joinList(lines.map(place)),
    lineIds: joinList(lines.map(({ lineId }) => lineId)),
    quantities: joinList(lines.map(({ quantity }) => quantity)),
    createdXids: joinList(lines.map(() => '0')),
  };
}

/** Counts moments and line ids; shared by all copies, since a state that was lost must not lend out its ids again. */
interface Counter {
  value: number;
}

export class CartTables {
  readonly offsets: Map<string, OffsetRow>;
  readonly ledger: Set<string>;
  readonly lines: Map<string, Line>;
  readonly parked: bigint[];
  readonly journal: JournalEntry[];
  readonly #counter: Counter;

  constructor(counter: Counter = { value: 0 }, from?: CartTables) {
    this.#counter = counter;
    this.offsets = new Map(from?.offsets);
    this.ledger = new Set(from?.ledger);
    this.lines = new Map(from?.lines);
    this.parked = [...(from?.parked ?? [])];
    this.journal = [...(from?.journal ?? [])];
  }

  clone(): CartTables {
    return new CartTables(this.#counter, this);
  }

  findLine(userId: string, sku: string): Line | undefined {
    for (const line of this.lines.values()) if (line.userId === userId && line.sku === sku) return line;
    return undefined;
  }

  add(userId: string, sku: string, quantity: number): void {
    const at = ++this.#counter.value;
    const known = this.findLine(userId, sku);
    const lineId = known?.lineId ?? uuid(1_000_000 + at);
    this.lines.set(lineId, { lineId, userId, sku, quantity: (known?.quantity ?? 0) + quantity });
    this.journal.push({ kind: 'added', at, line: { lineId, userId, sku, quantity } });
  }

  /** What a statement waits for, and then holds until its transaction ends. */
  locksOf({ name, args }: Statement): string[] {
    switch (name) {
      case 'advanceOffsets':
        return args[2].map(({ partition }: OffsetStep) => offsetKey({ topic: args[1], partition }));
      case 'readStoredOffset':
        return [offsetKey(args[1])];
      case 'lockOffsets':
      case 'raiseOwnerEpochs':
        return args[1].map(offsetKey);
      case 'insertAppliedOrders':
        return args[1].map(({ orderId }: { orderId: string }) => `order ${orderId}`);
      case 'lockCartLines':
        return this.#wantedLines(args[0]).map(({ lineId }) => `line ${lineId}`);
      default:
        return [];
    }
  }

  /** @param own what the same transaction has changed before */
  execute(statement: Statement, own: readonly Change[]): Result {
    const { name, args } = statement;
    switch (name) {
      case 'insertMissingOffsets':
        return this.#insertMissing(args[1]);
      case 'lockOffsets':
        return NOTHING;
      case 'raiseOwnerEpochs':
        return this.#raise(args[1], own);
      case 'readStoredOffset': {
        const row = this.offsets.get(offsetKey(args[1]));
        return { rows: row === undefined ? [] : [formatOwned(row)], changes: [] };
      }
      case 'readNextOffsets':
        return { rows: [...this.offsets.values()].filter(({ topic }) => args[1].includes(topic)), changes: [] };
      case 'advanceOffsets': {
        const moves: Result[] = args[2].map((step: OffsetStep) => this.#advance(args[1], step));
        return { rows: moves.flatMap(({ rows }) => rows), changes: moves.flatMap(({ changes }) => changes) };
      }
      case 'insertAppliedOrders': {
        const fresh = args[1].filter(({ orderId }: { orderId: string }) => !this.ledger.has(orderId));
        const orderIds = fresh.map(({ orderId }: { orderId: string }) => orderId);
        return {
          rows: [{ count: fresh.length, orderIds: fresh.length < args[1].length ? joinList(orderIds) : null }],
          changes: fresh.map(({ orderId }: { orderId: string }) => ({ kind: 'ledger', orderId })),
        };
      }
      case 'lockCartLines':
        return {
          rows: [formatLocked(args[0], this.#wantedLines(args[0]))],
          changes: [{ kind: 'locked', at: ++this.#counter.value }],
        };
      case 'readCartLines':
        return { rows: args[0].flatMap((id: string) => this.lines.get(id) ?? []), changes: [] };
      case 'reduceCartLines':
        return { rows: [], changes: args[0].map((change: object) => ({ kind: 'line', ...change })) };
      case 'deleteCartLines':
        return { rows: [], changes: args[0].map((lineId: string) => ({ kind: 'line', lineId, quantity: 0 })) };
      case 'insertCartRemovals':
        return { rows: [], changes: args[0].map((removal: Removal) => ({ kind: 'removal', removal })) };
      case 'insertParkedEvents':
        return { rows: [], changes: args[1].map(({ offset }: { offset: bigint }) => ({ kind: 'parked', offset })) };
      default:
        throw new Error(`the model of the carts database does not know ${name}`);
    }
  }

  commit(changes: readonly Change[]): void {
    const orderIds: string[] = [];
    const removals: Removal[] = [];
    const moved: OffsetRow[] = [];
    let at: number | undefined;
    for (const change of changes) {
      if (change.kind === 'offset') {
        moved.push(change.row);
        this.offsets.set(offsetKey(change.row), change.row);
      } else if (change.kind === 'ledger') {
        this.ledger.add(change.orderId);
        orderIds.push(change.orderId);
      } else if (change.kind === 'removal') removals.push(change.removal);
      else if (change.kind === 'parked') this.parked.push(change.offset);
      else if (change.kind === 'locked') at = change.at;
      else if (change.quantity === 0) this.lines.delete(change.lineId);
      else this.lines.set(change.lineId, { ...this.lines.get(change.lineId)!, quantity: change.quantity });
    }
    this.journal.push({ kind: 'batch', at: at ?? ++this.#counter.value, orderIds, removals, moved });
  }

  #wantedLines({ userIds, skus }: UserSkus): Line[] {
    return skus.flatMap((sku, index) => this.findLine(userIds[index]!, sku) ?? []);
  }

  #insertMissing(partitions: readonly TopicPartition[]): Result {
    const changes = partitions.flatMap(({ topic, partition }): Change[] => {
      if (this.offsets.has(offsetKey({ topic, partition }))) return [];
      const unknown = { last_timeline: null, last_commit_lsn: null, last_ordinal: null, generation: null };
      return [{ kind: 'offset', row: { topic, partition, next_offset: 0n, owner_epoch: 0n, ...unknown } }];
    });
    return { rows: [], changes };
  }

  #raise(partitions: readonly TopicPartition[], own: readonly Change[]): Result {
    const rows = partitions.map((partition) => {
      const key = offsetKey(partition);
      const inserted = own.find((change) => change.kind === 'offset' && offsetKey(change.row) === key);
      const row = this.offsets.get(key) ?? (inserted as Extract<Change, { kind: 'offset' }>).row;
      return { ...row, owner_epoch: row.owner_epoch + 1n };
    });
    return { rows: rows.map(formatOwned), changes: rows.map((row) => ({ kind: 'offset', row })) };
  }

  #advance(topic: string, step: OffsetStep): Result {
    const { partition, ownerEpoch, expectedOffset, nextOffset, timeline, commitLsn, ordinal, generation } = step;
    const row = this.offsets.get(offsetKey({ topic, partition }));
    if (row === undefined || row.next_offset !== expectedOffset || row.owner_epoch !== ownerEpoch) return NOTHING;
    const furthest =
      timeline === null ? {} : { last_timeline: timeline, last_commit_lsn: commitLsn, last_ordinal: ordinal };
    const moved = { ...row, ...furthest, next_offset: nextOffset, generation: generation ?? row.generation };
    const before = {
      partition,
      timeline: row.last_timeline,
      commitLsn: row.last_commit_lsn,
      ordinal: row.last_ordinal,
      generation: row.generation,
    };
    return { rows: [before], changes: [{ kind: 'offset', row: moved }] };
  }
}

const formatOwned = ({ topic, partition, next_offset, owner_epoch, last_commit_lsn }: OffsetRow): Ownership => ({
  topic,
  partition,
  nextOffset: next_offset,
  ownerEpoch: owner_epoch,
  lastCommitLsn: last_commit_lsn,
  topicId: null,
});
