// Did each published order change the carts exactly once? Pure: facts in, findings out (I1, I2, I3, I6). It compares the
// ledger with the topic up to the stored offsets, what was removed with the cart model, and what is left with what was
// there: goods are conserved line by line, in whatever order additions and orders met.

import { type Addition, cartKey, itemKey, runCartModel } from './cart-model.ts';
import { comparePlaces, type OrderEvent, place, positionText } from './event.ts';
import type { CartFacts, Facts, LineFact, RemovalFact } from './facts.ts';
import type { Replayed } from './judge-gaps.ts';
import type { JudgedLog } from './judge-log.ts';
import type { Findings } from './verdict.ts';

/** The carts as the test made them; orders in `appliedBefore` had been applied when `opening` was read. */
export interface CartHistory {
  readonly opening: readonly LineFact[];
  readonly additions: readonly Addition[];
  readonly appliedBefore: ReadonlySet<string>;
  /** {@link cartKey}s that users changed or deleted lines of: only conservation's upper bound is known for these. */
  readonly edited: ReadonlySet<string>;
  /** Where the orders database's log was when a replay had closed all gaps so far; ascending. */
  readonly gapsClosedAt?: readonly bigint[];
}

/** Beyond every position. */
const lastLsn = 1n << 64n;

/** Judges `carts` by the events in the log. Orders beyond a partition's stored offset count as lost (I1). */
export function judgeCarts(
  facts: Facts,
  carts: CartFacts,
  log: JudgedLog,
  history: CartHistory,
  findings: Findings,
): void {
  for (const [name, { length }] of Object.entries(carts)) findings.count(name, length);
  judgeLedger(facts, carts, log, findings);
  judgeOffsets(facts, carts, log, findings);
  judgeParked(carts, log, findings);
  judgeEffects(carts, log, history, findings);
}

/** I1, I2 and I6: the ledger holds the published orders up to the stored offsets, each once, and nothing else. */
function judgeLedger(facts: Facts, carts: CartFacts, log: JudgedLog, findings: Findings): void {
  const next = new Map(carts.offsets.map(({ partition, nextOffset }) => [partition, nextOffset]));
  const parked = new Set(carts.parked.map(place));
  const ledger = new Map(carts.ledger.map((entry) => [entry.orderId, entry]));
  findings.expect('I3', ledger.size === carts.ledger.length, () => 'the ledger holds an order twice');
  const publishedIds = new Set<string>();
  for (const published of [...log.published.values()].flat()) {
    const { event, partition, offset } = published;
    publishedIds.add(event.orderId);
    const entry = ledger.get(event.orderId);
    const isParked = parked.has(place(published));
    const settled = entry !== undefined || isParked;
    findings.expect('I1', settled, () => `order ${event.orderId} at ${place(published)} is neither applied nor parked`);
    findings.expect('I3', !(entry !== undefined && isParked), () => `order ${event.orderId} is applied and parked`);
    findings.expect(
      'I6',
      settled === offset < (next.get(partition) ?? 0n),
      () =>
        `order ${event.orderId} at ${place(published)} is ${settled ? '' : 'not '}applied, the stored offset is ${next.get(partition)}`,
    );
    if (entry === undefined) continue;
    const same = entry.userId === event.userId && entry.source === event.source && comparePlaces(entry, event) === 0;
    findings.expect(
      'I6',
      same,
      () => `the ledger has order ${event.orderId} at ${positionText(entry)}, the topic at ${positionText(event)}`,
    );
  }
  for (const { event } of log.replayed) {
    publishedIds.add(event.orderId);
    const entry = ledger.get(event.orderId);
    findings.expect('I1', entry !== undefined, () => `order ${event.orderId} of a gap is replayed and not applied`);
    if (entry === undefined) continue;
    const same = entry.userId === event.userId && entry.source === event.source && comparePlaces(entry, event) === 0;
    findings.expect(
      'I6',
      same,
      () => `the ledger has order ${event.orderId} at ${positionText(entry)}, the replay at ${positionText(event)}`,
    );
  }
  const orderIds = new Set(facts.orders.map(({ orderId }) => orderId));
  for (const { orderId } of carts.ledger) {
    findings.expect(
      'I2',
      publishedIds.has(orderId) && orderIds.has(orderId),
      () => `order ${orderId} is applied and ${orderIds.has(orderId) ? 'not published' : 'did not commit'}`,
    );
  }
}

/** I6: the stored position is that of the last event before the stored offset, which lies within the log. */
function judgeOffsets(facts: Facts, carts: CartFacts, log: JudgedLog, findings: Findings): void {
  for (const { partition, nextOffset, last } of carts.offsets) {
    const end = facts.live.find((one) => one.partition === partition)?.highWatermark ?? 0n;
    findings.expect(
      'I6',
      nextOffset <= end,
      () => `partition ${partition} ends at ${end}, the stored offset is ${nextOffset}`,
    );
    const events = log.published.get(partition) ?? [];
    const before = events.filter(({ offset }) => offset < nextOffset).at(-1)?.event;
    const same = last === undefined || before === undefined ? last === before : comparePlaces(last, before) === 0;
    findings.expect('I6', same, () => {
      const [stored, real] = [last, before].map((at) => (at === undefined ? 'none' : positionText(at)));
      return `partition ${partition} stores position ${stored} at offset ${nextOffset}, the last event before it has ${real}`;
    });
  }
}

/** I1: what can't be read is parked, and no event of ours is. */
function judgeParked(carts: CartFacts, log: JudgedLog, findings: Findings): void {
  const parked = new Set(carts.parked.map(place));
  const unreadable = new Set(log.unreadable.map(place));
  for (const at of unreadable) {
    findings.expect('I1', parked.has(at), () => `${at} can't be read and is not parked`);
  }
  const foreign = new Set(log.foreign.map(place));
  for (const at of parked) {
    findings.expect('I1', unreadable.has(at) || foreign.has(at), () => `${at} is parked and is an event of ours`);
  }
}

/** I3: what each item removed, and what each line is left with. */
function judgeEffects(carts: CartFacts, log: JudgedLog, history: CartHistory, findings: Findings): void {
  const ledger = new Set(carts.ledger.map(({ orderId }) => orderId));
  const isJudged = ({ orderId }: OrderEvent) => ledger.has(orderId) && !history.appliedBefore.has(orderId);
  const orders = [...log.published.values()]
    .flat()
    .map(({ event }) => event)
    .filter(isJudged);
  const replayed = log.replayed.filter(({ event }) => isJudged(event));
  const removals = carts.removals.filter(({ orderId }) => !history.appliedBefore.has(orderId));
  judgeRemovals(orders, replayed, removals, history, findings);
  const buyers = new Map(carts.ledger.map(({ orderId, userId }) => [orderId, userId]));
  judgeLines(carts.lines, removals, buyers, history, findings);
}

/** With the orders of each gap where `placeOf` puts a gap that begins there. */
function mergeReplayed(
  orders: readonly OrderEvent[],
  replayed: readonly Replayed[],
  placeOf: (gapFromLsn: bigint) => bigint,
): OrderEvent[] {
  const all = [
    ...replayed.map(({ event, gapFromLsn }) => ({ event, at: placeOf(gapFromLsn) })),
    ...orders.map((event) => ({ event, at: event.commitLsn })),
  ];
  return all.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)).map(({ event }) => event);
}

function judgeRemovals(
  orders: readonly OrderEvent[],
  replayed: readonly Replayed[],
  removals: readonly RemovalFact[],
  history: CartHistory,
  findings: Findings,
): void {
  // What an order finds is the more, the fewer others came before it: what both ends agree on holds for all between.
  const latest = (gapFromLsn: bigint) => history.gapsClosedAt?.find((lsn) => lsn > gapFromLsn) ?? lastLsn;
  const orderings =
    replayed.length === 0
      ? [orders]
      : [mergeReplayed(orders, replayed, (lsn) => lsn), mergeReplayed(orders, replayed, latest)];
  const models = orderings.flatMap((inOrder) =>
    [true, false].map((additionsFirst) => runCartModel({ ...history, orders: inOrder, additionsFirst }).reductions),
  );
  const byItem = Map.groupBy(removals, ({ orderId, lineNo }) => itemKey(orderId, lineNo));
  // A line that an addition made came into being at some moment among the orders: an item between two others may find it
  // although it finds nothing with all additions first, and nothing with all of them last.
  const opening = new Set(history.opening.map(({ lineId }) => lineId));
  const later = history.additions.filter(({ lineId }) => !opening.has(lineId));
  const unsure = history.edited.union(new Set(later.map(({ userId, sku }) => cartKey(userId, sku))));
  const known = new Set<string>();
  let undetermined = 0;
  for (const { orderId, userId, source, items } of orderings[0]!) {
    for (const { lineNo, sku, quantity } of items) {
      const key = itemKey(orderId, lineNo);
      const rows = byItem.get(key) ?? [];
      known.add(key);
      const removed = rows.reduce((sum, row) => sum + row.removed, 0);
      const honest = rows.every((row) => row.sku === sku && row.ordered === quantity);
      findings.expect(
        'I3',
        honest && removed >= 0 && removed <= quantity,
        () => `item ${key} ordered ${quantity} and removed ${removed}`,
      );
      const [first, ...others] = models.map((model) => model.get(key));
      const agreed = others.every((other) => first?.removed === other?.removed && first?.lineId === other?.lineId);
      if (source !== 'direct' && (!agreed || unsure.has(cartKey(userId, sku)))) {
        undetermined += 1;
        continue;
      }
      const should = first ?? { removed: 0, lineId: null };
      const touched = [...new Set(rows.filter((row) => row.removed !== 0).map(({ lineId }) => lineId))];
      const right = removed === should.removed && touched.every((lineId) => lineId === should.lineId);
      findings.expect(
        'I3',
        right,
        () =>
          `item ${key} removed ${removed} from ${touched.join(' and ') || 'no line'}, the model ${should.removed} from ${should.lineId ?? 'no line'}`,
      );
    }
  }
  findings.count('items undetermined', undetermined);
  for (const key of byItem.keys()) {
    findings.expect('I2', known.has(key), () => `item ${key} removed goods, and no applied order has it`);
  }
}

/** Each line holds what was put into it less what orders took out of it. */
function judgeLines(
  lines: readonly LineFact[],
  removals: readonly RemovalFact[],
  buyers: ReadonlyMap<string, string>,
  history: CartHistory,
  findings: Findings,
): void {
  const isEdited = (userId: string, sku: string) => history.edited.has(cartKey(userId, sku));
  const should = new Map<string, LineFact>();
  for (const line of [...history.opening, ...history.additions]) {
    const before = should.get(line.lineId)?.quantity ?? 0;
    should.set(line.lineId, { ...line, quantity: before + line.quantity });
  }
  for (const { orderId, lineId, sku, removed } of removals) {
    const line = lineId === null ? undefined : should.get(lineId);
    if (line !== undefined) should.set(line.lineId, { ...line, quantity: line.quantity - removed });
    // An addition without an answer counts as an edit, and nobody learnt the id of its line.
    else if (!isEdited(buyers.get(orderId) ?? '', sku))
      findings.expect('I3', removed === 0, () => `${removed} were removed from line ${lineId}, which never was`);
  }
  const now = new Map(lines.map((line) => [line.lineId, line]));
  for (const line of should.values()) {
    if (isEdited(line.userId, line.sku)) continue;
    const left = now.get(line.lineId)?.quantity ?? 0;
    findings.expect(
      'I3',
      left === line.quantity,
      () => `line ${line.lineId} holds ${left} instead of ${line.quantity}`,
    );
  }
  for (const line of lines) {
    if (isEdited(line.userId, line.sku)) continue;
    const origin = should.get(line.lineId);
    findings.expect(
      'I3',
      origin?.userId === line.userId && origin.sku === line.sku,
      () => `line ${line.lineId} is in a cart that nobody put it into`,
    );
  }
}
