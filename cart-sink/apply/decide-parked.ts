/**
 * What an operator decides about a record that the sinks could not apply: park it where its partition has halted, apply it
 * after all, or discard it. For the tools; the sinks themselves park in a batch.
 *
 * Guarantees (I1, I3, I6): each decision is one transaction, under the lock of the partition's offset that a batch takes
 * first. An order is applied by the batch's own statements: once, whatever the ledger has. Only parking moves an offset,
 * and it fences the owner. Leaves to the caller: reading the record, and asking.
 */
import { type ConnectionPool, IsolationLevel, type SQLQuery, type Transaction } from '@databases/pg';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { ReplayTally } from '#schemas/replay/records.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Statements } from '#service/postgres/pipelined-transaction.ts';
import { CURRENT_RULE, type Rule } from '../rule/reduce-cart.ts';
import { lockOffsets, passHaltedRecord, type StoredOffset, type TopicPartition } from '../sql/consumer-offsets.ts';
import {
  closeParkedEvent,
  insertParkedEvents,
  lockParkedEvent,
  type ParkedOutcome,
  type ParkedOutcomeRow,
} from '../sql/parked-events.ts';
import { addReplayResults } from '../sql/replay-runs.ts';
import { insertIntoLedger } from './apply-batch.ts';
import { lockLiveLines, reduceCarts } from './change-carts.ts';

/** A parked event, and who decides about it. */
export interface ParkedEvent {
  readonly parkedId: bigint;
  readonly consumerGroup: string;
  /** The partition that it was consumed from. */
  readonly place: TopicPartition;
  readonly by: string;
}

/** Nothing was changed. `closed`: it had this outcome before. */
export type Undecided = { readonly kind: 'closed'; readonly outcome: ParkedOutcome } | { readonly kind: 'missing' };

export type Decision<K extends string> = { readonly kind: K } | Undecided;

/**
 * Applies the order of a parked event, unless the ledger has it, and marks the event as retried. No offset and no position
 * moves: an order that comes late is no evidence of another history.
 */
export function retryParkedOrder(
  pool: ConnectionPool,
  event: ParkedEvent,
  order: OrderPlaced,
  rule: Rule = CURRENT_RULE,
): Promise<Decision<'applied' | 'already-applied'>> {
  return decide(pool, event, async (tx) => {
    const [isNew] = await insertIntoLedger(tx, [order], rule);
    if (isNew)
      await sendAll(tx, async (statements) => {
        await reduceCarts(statements, [order], await lockLiveLines(statements, [order]), rule);
      });
    const reason = isNew ? `applied order ${order.orderId}` : `the ledger had order ${order.orderId}`;
    await tx.query(closeParkedEvent(event.parkedId, { kind: 'retried', by: event.by, reason }));
    return isNew ? 'applied' : 'already-applied';
  });
}

/** Runs `work` in a transaction that is not pipelined: what it has sent is done when this resolves. */
async function sendAll(tx: Transaction, work: (statements: Statements) => Promise<void>): Promise<void> {
  const sent: Promise<unknown>[] = [];
  const send = (statement: SQLQuery): void => {
    const result = tx.query(statement);
    result.catch(() => undefined); // it is thrown below, unless something fails before
    sent.push(result);
  };
  await work({ query: tx.query.bind(tx), send });
  await Promise.all(sent);
}

/** Marks a parked event as one that nobody will apply. Its row and bytes stay. */
export function discardParkedEvent(
  pool: ConnectionPool,
  event: ParkedEvent,
  reason: string,
): Promise<Decision<'discarded'>> {
  return decide(pool, event, async (tx) => {
    await tx.query(closeParkedEvent(event.parkedId, { kind: 'discarded', by: event.by, reason }));
    return 'discarded';
  });
}

function decide<K extends string>(
  pool: ConnectionPool,
  { consumerGroup, place, parkedId }: ParkedEvent,
  carryOut: (tx: Transaction) => Promise<K>,
): Promise<Decision<K>> {
  return pool.tx(
    async (tx): Promise<Decision<K>> => {
      await tx.query(lockOffsets(consumerGroup, [place]));
      const [row]: ParkedOutcomeRow[] = await tx.query(lockParkedEvent(parkedId));
      if (row === undefined) return { kind: 'missing' };
      if (row.outcome !== null) return { kind: 'closed', outcome: row.outcome };
      const kind = await carryOut(tx);
      await failpoint('parked.before-commit');
      return { kind };
    },
    { isolationLevel: IsolationLevel.READ_COMMITTED },
  );
}

/** The record at which a halted partition stands. */
export interface HaltedRecord {
  readonly consumerGroup: string;
  /** As it was when the record was read: where one of its values is another by now, nothing is changed. */
  readonly stands: TopicPartition & StoredOffset;
  readonly record: {
    readonly offset: bigint;
    /** The last offset that is passed: the record's own, or the last one of a whole batch. */
    readonly lastOffset: bigint;
    readonly key: Buffer | null;
    readonly value: Buffer | null;
    readonly reason: string;
  };
  /** The run of a replayed order, which counts it as parked; undefined for every other record. */
  readonly replay: { readonly runId: string; readonly tally: ReplayTally } | undefined;
}

/** Parks the record, moves the partition behind it and ends the halt. Null if the partition does not stand there. */
export function parkHaltedRecord(
  pool: ConnectionPool,
  { consumerGroup, stands, record, replay }: HaltedRecord,
): Promise<bigint | null> {
  return pool.tx(
    async (tx) => {
      const moved = await tx.query(passHaltedRecord(consumerGroup, stands, record.lastOffset));
      if (moved.length === 0) return null;
      const place = { consumerGroup, ...stands };
      const [parked]: { parkedId: bigint }[] = await tx.query(insertParkedEvents(place, [record]));
      if (replay !== undefined) {
        const counts = { applied: 0, already: 0, changed: 0, parked: 1 };
        await tx.query(addReplayResults({ ...place, runId: replay.runId }, counts, replay.tally, undefined));
      }
      await failpoint('adopt.before-park');
      return parked!.parkedId;
    },
    { isolationLevel: IsolationLevel.READ_COMMITTED },
  );
}
