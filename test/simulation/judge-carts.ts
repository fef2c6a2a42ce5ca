// Has every published order changed the carts once, and nothing else has? Goes through the journal of the carts database
// again with the plainest model there is: the ledger and the offset move together (I6), no order comes twice (I3), each
// takes from the lines what it must, and what is left is what should be.

import { readEvent } from '../support/oracle/event.ts';
import { demand } from './judge-log.ts';
import type { JournalEntry, Line } from './model/cart-tables.ts';
import { LIVE } from './model/kafka.ts';
import type { PlacedOrder } from './model/postgres.ts';
import type { Simulation } from './simulation.ts';

/** @param published the ids of all orders that Kafka has ever committed */
export function judgeCarts(simulation: Simulation, published: ReadonlySet<string>): void {
  const { carts, halts, isLogLost } = simulation;
  const { ledger, parked } = carts.tables;
  for (const orderId of ledger)
    demand(published.has(orderId), () => `I2: ${orderId} is applied and was never published`);
  demand(parked.length === 0, () => `I1: the records at ${parked.join(', ')} are parked`);
  if (!isLogLost && !halts.some(({ who }) => who === 'sink')) {
    for (const orderId of published) demand(ledger.has(orderId), () => `I1: ${orderId} is published and not applied`);
  }
  judgeOffsets(simulation);
  judgeEffects(simulation);
}

/** I6: in the ledger are exactly the orders that lie before the stored offset. */
function judgeOffsets({ kafka, carts, scenario }: Simulation): void {
  if (scenario.gap?.kind === 'the live topic is deleted and created anew') return;
  for (const partition of kafka.topics.get(LIVE)!) {
    const nextOffset = carts.tables.offsets.get(`offset ${LIVE}[${partition.partition}]`)?.next_offset ?? 0n;
    for (const { offset, value, transaction } of kafka.read(partition, 0n, kafka.end(partition)).visible) {
      if (transaction.id === 0) continue;
      const isApplied = carts.tables.ledger.has(readEvent(value)!.orderId);
      demand(
        isApplied === offset < nextOffset,
        () =>
          `I6: [${partition.partition}] is stored at ${nextOffset}, the order at ${offset} is applied: ${isApplied}`,
      );
    }
  }
}

function judgeEffects({ carts, placed }: Simulation): void {
  const { journal, lines } = carts.tables;
  const offsets = new Map<number, bigint>();
  for (const entry of journal) {
    if (entry.kind !== 'batch') continue;
    for (const { partition, next_offset } of entry.moved) {
      const before = offsets.get(partition) ?? 0n;
      demand(next_offset >= before, () => `I6: [${partition}] goes back from ${before} to ${next_offset}`);
      offsets.set(partition, next_offset);
    }
  }
  const expected = new Map<string, Line>();
  const applied = new Set<string>();
  for (const entry of [...journal].sort((a, b) => a.at - b.at)) {
    if (entry.kind === 'added') add(expected, entry.line);
    else applyBatch(entry, { expected, applied, placed });
  }
  const format = (all: Iterable<Line>) =>
    [...all]
      .map(({ lineId, userId, sku, quantity }) => `${userId} ${sku} ${quantity} ${lineId}`)
      .sort()
      .join('\n');
  const [found, wanted] = [format(lines.values()), format(expected.values())];
  demand(found === wanted, () => `I3: the carts are\n${found}\nand should be\n${wanted}`);
}

function add(lines: Map<string, Line>, line: Line): void {
  lines.set(line.lineId, { ...line, quantity: line.quantity + (lines.get(line.lineId)?.quantity ?? 0) });
}

interface State {
  readonly expected: Map<string, Line>;
  readonly applied: Set<string>;
  readonly placed: ReadonlyMap<string, PlacedOrder>;
}

function applyBatch(batch: Extract<JournalEntry, { kind: 'batch' }>, { expected, applied, placed }: State): void {
  const removed = new Map(
    batch.removals.map((row) => [`${row.orderId}/${row.lineNo}`, `${row.removed} of ${row.lineId}`]),
  );
  for (const orderId of batch.orderIds) {
    demand(!applied.has(orderId), () => `I3: ${orderId} is applied twice`);
    applied.add(orderId);
    const order = placed.get(orderId)!;
    for (const { lineNo, sku, quantity, cartLineId } of order.items) {
      const fits = ({ userId, sku: other, lineId }: Line) =>
        userId === order.userId && other === sku && (cartLineId ?? lineId) === lineId;
      const line = order.source === 'direct' ? undefined : [...expected.values()].find(fits);
      const taken = Math.min(quantity, line?.quantity ?? 0);
      const wanted = `${taken} of ${line?.lineId ?? null}`;
      const found = removed.get(`${orderId}/${lineNo}`);
      demand(found === wanted, () => `I3: ${orderId}/${lineNo} removed ${found} and should have removed ${wanted}`);
      if (line === undefined) continue;
      if (taken < line.quantity) expected.set(line.lineId, { ...line, quantity: line.quantity - taken });
      else expected.delete(line.lineId);
    }
  }
}
