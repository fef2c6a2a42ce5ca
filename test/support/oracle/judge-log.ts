// Is what Kafka shows exactly what the orders database committed? Pure: facts in, findings out (I1, I2, I4, I5).
// It takes "published" to mean committed in the log by the markers; aborted and open records are counted, and may never
// be the only trace of an order. What became of the events in the carts is judge-carts.ts's business.

import {
  comparePlaces,
  lsnText,
  type OrderEvent,
  type Published,
  partitionOf,
  place,
  positionText,
  readEvent,
} from './event.ts';
import type { Facts, OrderFact } from './facts.ts';
import { judgeCheckpoints, readCheckpoints, snapshotCommits } from './judge-checkpoints.ts';
import { findGaps, fromTables, type Gap, judgeGaps, liesIn, type Replayed } from './judge-gaps.ts';
import type { RawRecord } from './read-topic.ts';
import type { Findings } from './verdict.ts';

export interface JudgedLog {
  /** Committed events in log order, by partition. */
  readonly published: ReadonlyMap<number, readonly Published[]>;
  /** Committed records that are no event. */
  readonly unreadable: readonly RawRecord[];
  /** Events that someone else sent, outside of a transaction: they count for nothing, and may be parked. */
  readonly foreign: readonly RawRecord[];
  /** Orders of accepted gaps that came by a replay from the tables instead, in the order of that topic. */
  readonly replayed: readonly Replayed[];
}

export function judgeLog(facts: Facts, findings: Findings): JudgedLog {
  const published = new Map<number, Published[]>();
  const unreadable: RawRecord[] = [];
  const foreign: RawRecord[] = [];
  const outcomes = { committed: 0, aborted: 0, open: 0 };
  for (const { partition, records } of facts.live) {
    const events: Published[] = [];
    for (const record of records) {
      outcomes[record.outcome] += 1;
      if (record.outcome === 'open') findings.violated('I5', `${place(record)} lies in a transaction that never ended`);
      if (record.outcome !== 'committed') continue;
      const event = readEvent(record.value);
      if (event === undefined) {
        unreadable.push(record);
      } else if (!record.transactional) {
        foreign.push(record);
      } else {
        events.push({ partition, offset: record.offset, event });
        const own = record.key?.toString('utf8') === event.userId;
        findings.expect('I4', own, () => `${place(record)}: the key is not the user`);
      }
    }
    published.set(partition, events);
  }
  for (const [name, value] of Object.entries(outcomes)) findings.count(`records ${name}`, value);
  findings.count('records unreadable', unreadable.length);
  findings.count('records foreign', foreign.length);
  findings.count('orders', facts.orders.length);
  const checkpoints = readCheckpoints(facts, findings);
  const partitions = checkpoints.at(-1)?.partitions ?? facts.live.length;
  judgeOrder(published, partitions, findings);
  const snapshots = snapshotCommits(checkpoints);
  const gaps = findGaps(checkpoints, published);
  judgeGaps(gaps, published, findings);
  const missing = judgeContent(facts.orders, published, snapshots, findings);
  const replayed = judgeMissing(missing, gaps, fromTables(facts.replayed ?? []), findings);
  judgeTransactions(facts.orders, published, { snapshots, gaps, replayed }, findings);
  judgeCheckpoints(facts, checkpoints, published, findings);
  return { published, unreadable, foreign, replayed };
}

/** I4: positions strictly increase within a partition, each order lies in its user's, once. */
function judgeOrder(
  published: ReadonlyMap<number, readonly Published[]>,
  partitions: number,
  findings: Findings,
): void {
  const seen = new Map<string, Published>();
  for (const [partition, events] of published) {
    let previous: Published | undefined;
    for (const current of events) {
      const { event } = current;
      const before = previous?.event;
      findings.expect(
        'I4',
        before === undefined || comparePlaces(before, event) < 0,
        () => `${place(current)}: position ${positionText(event)} after ${positionText(before!)}`,
      );
      const own = partitionOf(event.userId, partitions);
      findings.expect('I4', own === partition, () => `${place(current)}: this user belongs to partition ${own}`);
      const twin = seen.get(event.orderId);
      findings.expect(
        'I4',
        twin === undefined,
        () => `order ${event.orderId} is at ${place(twin!)} and at ${place(current)}`,
      );
      seen.set(event.orderId, current);
      previous = current;
    }
  }
}

/** I2: the published orders are committed ones, with the content of their rows. Returns those that are not published. */
function judgeContent(
  orders: readonly OrderFact[],
  published: ReadonlyMap<number, readonly Published[]>,
  snapshots: ReadonlySet<bigint>,
  findings: Findings,
): OrderFact[] {
  const byId = new Map(orders.map((order) => [order.orderId, order]));
  const found = new Set<string>();
  for (const event of [...published.values()].flat()) {
    const { orderId } = event.event;
    const order = byId.get(orderId);
    findings.expect('I2', order !== undefined, () => `${place(event)}: order ${orderId} did not commit`);
    if (order === undefined) continue;
    found.add(orderId);
    const wrong = differingFields(order, event.event, snapshots.has(event.event.commitLsn));
    findings.expect('I2', wrong.length === 0, () => `${place(event)}: order ${orderId} differs in ${wrong.join(', ')}`);
  }
  findings.looked('I1', found.size);
  return orders.filter(({ orderId }) => !found.has(orderId));
}

/**
 * I1: an order that the live topic lacks lies in a gap that an operator has accepted, and came by a replay from the tables,
 * with the content of its row. Returns what was so.
 */
function judgeMissing(
  missing: readonly OrderFact[],
  gaps: readonly Gap[],
  replayed: readonly Published[],
  findings: Findings,
): Replayed[] {
  const byId = new Map(replayed.map((one) => [one.event.orderId, one]));
  const gapOf = new Map<Published, Gap>();
  for (const order of missing) {
    const { orderId } = order;
    const gap = gaps.find((one) => liesIn(one, order));
    findings.expect('I1', gap !== undefined, () => `order ${orderId} is committed and not published`);
    if (gap === undefined) continue;
    const found = byId.get(orderId);
    findings.expect('I1', found !== undefined, () => `order ${orderId} lies in a gap and was not replayed`);
    if (found === undefined) continue;
    const wrong = differingFields(order, found.event, true);
    findings.expect(
      'I2',
      wrong.length === 0,
      () => `replayed ${place(found)}: order ${orderId} differs in ${wrong.join(', ')}`,
    );
    gapOf.set(found, gap);
  }
  findings.count('orders in gaps', missing.length);
  return replayed.flatMap((one) => {
    const gap = gapOf.get(one);
    return gap === undefined ? [] : [{ ...one, gapFromLsn: gap.fromLsn }];
  });
}

function differingFields(order: OrderFact, event: OrderEvent, isSnapshot: boolean): string[] {
  const wrong: string[] = [];
  for (const field of ['userId', 'source', 'currency', 'totalCents', 'placedAt'] as const) {
    if (order[field] !== event[field]) wrong.push(field);
  }
  // A snapshot shows no commit times; the time of placing stands for it.
  const committedAt = isSnapshot ? order.placedAt : order.committedAt;
  if (committedAt !== undefined && committedAt !== event.committedAt) wrong.push('committedAt');
  if (order.items.length !== event.items.length) wrong.push('items');
  else {
    for (const [index, item] of order.items.entries()) {
      for (const field of ['lineNo', 'sku', 'quantity', 'unitPriceCents', 'cartLineId'] as const) {
        if (item[field] !== event.items[index]![field]) wrong.push(`items.${index}.${field}`);
      }
    }
  }
  return wrong;
}

/**
 * I5: the orders of one database transaction are published together or not at all, at a commit position of its own,
 * numbered from 0. Those that a first start's snapshot has seen share its position.
 */
function judgeTransactions(
  orders: readonly OrderFact[],
  published: ReadonlyMap<number, readonly Published[]>,
  excuses: {
    readonly snapshots: ReadonlySet<bigint>;
    readonly gaps: readonly Gap[];
    readonly replayed: readonly Replayed[];
  },
  findings: Findings,
): void {
  const { snapshots, gaps } = excuses;
  const replayed = new Set(excuses.replayed.map(({ event }) => event.orderId));
  const events = new Map([...published.values()].flat().map(({ event }) => [event.orderId, event]));
  const xidByCommit = new Map<bigint, string>();
  for (const [xid, members] of Map.groupBy(orders, (order) => order.xid)) {
    const own = members.map(({ orderId }) => events.get(orderId)).filter((event) => event !== undefined);
    // Of a huge one that was being published when a gap began, the rest is replayed.
    const isCutOff = own.length > 0 && gaps.some(({ partial }) => own.every(({ commitLsn }) => commitLsn === partial));
    const rest = isCutOff ? members.filter(({ orderId }) => replayed.has(orderId)).length : 0;
    findings.expect(
      'I5',
      own.length === 0 || own.length + rest === members.length,
      () => `transaction ${xid} is torn: ${own.length} of its ${members.length} orders are published`,
    );
    const commits = new Set(own.map(({ commitLsn }) => commitLsn));
    if (own.length === 0 || commits.isSubsetOf(snapshots)) continue;
    findings.expect('I5', commits.size === 1, () => {
      return `transaction ${xid} is published at ${[...commits].map(lsnText).join(' and ')}`;
    });
    for (const commit of commits) {
      const other = xidByCommit.get(commit);
      findings.expect('I5', other === undefined, () => `transactions ${other} and ${xid} share ${lsnText(commit)}`);
      xidByCommit.set(commit, xid);
    }
    const ordinals = own.map(({ ordinal }) => ordinal).toSorted((a, b) => a - b);
    findings.expect(
      'I5',
      ordinals.every((ordinal, index) => ordinal === index),
      () => `transaction ${xid} has ordinals ${ordinals.slice(0, 5).join(',')}… instead of 0 to ${own.length - 1}`,
    );
  }
}
