// The outside judge of the pipeline (I1 to I7). It reads the orders database, the Kafka log and the carts database with
// code of its own and compares them; it never asks a service whether it is right. Only schemas/ is shared with the
// program. A verdict means what it says when the pipeline is drained: wait for that first. How each invariant is judged
// is pure and lives in judge-*.ts, proven against falsified facts in test/unit/test/support/oracle/oracle.test.ts.

import { waitFor } from '../../../dev/process/wait-for.ts';
import { type Addition, cartKey } from './cart-model.ts';
import { readEvent } from './event.ts';
import {
  type Facts,
  lsnFromText,
  readCartLines,
  readCarts,
  readConfirmedFlush,
  readOrders,
  withTextClient,
} from './facts.ts';
import { type CartHistory, judgeCarts } from './judge-carts.ts';
import { fromTables } from './judge-gaps.ts';
import { judgeLog } from './judge-log.ts';
import { readTopic } from './read-topic.ts';
import { createFindings, type Verdict } from './verdict.ts';

export { assertClean, formatVerdict, type Verdict } from './verdict.ts';

export interface OracleOptions {
  readonly ordersUrl: string;
  /** Left out: only the reader is judged. */
  readonly cartsUrl?: string;
  readonly brokers: readonly string[];
  /** Default `orders.placed`. */
  readonly ordersTopic?: string;
  /** Default: the orders topic's name and `.replay`. */
  readonly replayTopic?: string;
  /** Default `tillstream`. */
  readonly slotName?: string;
  /** Default `cdc.checkpoints.` and the slot's name. */
  readonly checkpointTopic?: string;
  /** Default `cart-sink`. */
  readonly consumerGroup?: string;
}

export interface Oracle {
  /**
   * Takes the carts as they are now for the opening ones of its model, and what is applied by now for done. Call it after
   * filling carts and before ordering, or at any drained moment. Without a call, carts start empty.
   */
  openCarts(): Promise<void>;
  /** Goods that the test adds while orders may be on their way: the line as the cart API answered, with the quantity added. */
  noteAddition(addition: Addition): void;
  /** A line changed or deleted by its user while orders may be on their way: the outcome for that SKU isn't determined. */
  noteEdit(userId: string, sku: string): void;
  /** A replay has ended that applied the orders of all gaps so far; what commits from now on is applied after them. */
  noteGapsClosed(): Promise<void>;
  /** Resolves when every committed order is published and, with a carts database, behind the sink's stored offset. */
  waitUntilDrained(deadlineMs: number): Promise<void>;
  /** Reads everything and judges it; meaningful when drained. */
  check(): Promise<Verdict>;
}

const readDeadlineMs = 120_000;

/** Opens nothing until it is asked: each reading uses connections of its own, so servers may come and go in between. */
export function createOracle(options: OracleOptions): Oracle {
  const { ordersUrl, cartsUrl, brokers, ordersTopic = 'orders.placed', slotName = 'tillstream' } = options;
  const replayTopic = options.replayTopic ?? `${ordersTopic}.replay`;
  const checkpointTopic = options.checkpointTopic ?? `cdc.checkpoints.${slotName}`;
  const consumerGroup = options.consumerGroup ?? 'cart-sink';
  let history: CartHistory = { opening: [], additions: [], appliedBefore: new Set(), edited: new Set() };

  const read = async (): Promise<Facts> => {
    const carts = cartsUrl === undefined ? undefined : await readCarts(cartsUrl, consumerGroup, ordersTopic);
    const confirmedFlushLsn = await readConfirmedFlush(ordersUrl, slotName);
    const live = await readTopic({ brokers, topic: ordersTopic, deadlineMs: readDeadlineMs });
    const checkpoints = await readTopic({ brokers, topic: checkpointTopic, deadlineMs: readDeadlineMs });
    const replayed = await readTopic({ brokers, topic: replayTopic, deadlineMs: readDeadlineMs });
    return { orders: await readOrders(ordersUrl), live, replayed, checkpoints, slotName, confirmedFlushLsn, carts };
  };

  /** Throws what is still missing: cheap counts first, the whole topic only when these are right. */
  const requireDrained = async (): Promise<void> => {
    const count = async (url: string, table: string) => {
      const [row] = await withTextClient(url, (query) => query(`SELECT count(*) AS n FROM ${table}`));
      return Number(row!.n);
    };
    const orders = await count(ordersUrl, 'orders');
    if (cartsUrl !== undefined) {
      const settled = (await count(cartsUrl, 'applied_orders')) + (await count(cartsUrl, 'parked_events'));
      if (settled < orders) throw new Error(`${settled} of ${orders} orders are applied or parked`);
    }
    const carts = cartsUrl === undefined ? undefined : await readCarts(cartsUrl, consumerGroup, ordersTopic);
    const live = await readTopic({ brokers, topic: ordersTopic, deadlineMs: readDeadlineMs });
    const committed = live.flatMap(({ records }) => records.filter(({ outcome }) => outcome === 'committed'));
    const published = new Set(
      committed.map(({ value, transactional }) => (transactional ? readEvent(value)?.orderId : undefined)),
    );
    published.delete(undefined);
    if (published.size < orders) {
      const replayed = await readTopic({ brokers, topic: replayTopic, deadlineMs: readDeadlineMs });
      for (const { event } of fromTables(replayed)) published.add(event.orderId);
    }
    if (published.size < orders) throw new Error(`${published.size} of ${orders} orders are published`);
    if (carts === undefined) return;
    const next = new Map(carts.offsets.map(({ partition, nextOffset }) => [partition, nextOffset]));
    const ahead = committed.filter(({ partition, offset }) => offset >= (next.get(partition) ?? 0n));
    if (ahead.length > 0) throw new Error(`${ahead.length} records lie beyond the sink's stored offsets`);
  };

  return {
    async openCarts() {
      if (cartsUrl === undefined) throw new Error('This oracle was given no carts database.');
      const opening = await readCartLines(cartsUrl);
      const ledger = await withTextClient(cartsUrl, (query) => query('SELECT order_id FROM applied_orders'));
      const appliedBefore = new Set(ledger.map(({ order_id }) => order_id!));
      history = { opening, additions: [], appliedBefore, edited: new Set() };
    },
    noteAddition(addition) {
      history = { ...history, additions: [...history.additions, addition] };
    },
    noteEdit(userId, sku) {
      history = { ...history, edited: new Set([...history.edited, cartKey(userId, sku)]) };
    },
    async noteGapsClosed() {
      const [row] = await withTextClient(ordersUrl, (query) => query('SELECT pg_current_wal_insert_lsn() AS lsn'));
      history = { ...history, gapsClosedAt: [...(history.gapsClosedAt ?? []), lsnFromText(row!.lsn!)] };
    },
    async waitUntilDrained(deadlineMs) {
      await waitFor('the pipeline to be drained', () => requireDrained().then(() => true), {
        deadlineMs,
        everyMs: 100,
      });
    },
    async check() {
      const facts = await read();
      return judge(facts, history);
    },
  };
}

/** The whole judgement: pure. */
export function judge(facts: Facts, history: CartHistory): Verdict {
  const findings = createFindings();
  const log = judgeLog(facts, findings);
  if (facts.carts !== undefined) judgeCarts(facts, facts.carts, log, history, findings);
  return findings.verdict();
}
