// How far the pipeline is, looked at from outside while it is being broken: numbers of the last look that succeeded.
// Positions of the orders database are kept on the way, for replays to begin at.

import { withTextClient } from '../support/oracle/facts.ts';
import { readTopic } from '../support/oracle/read-topic.ts';
import type { TortureStack } from './stack.ts';

export interface ProgressSampler {
  readonly committed: number;
  readonly published: number;
  readonly applied: number;
  /** Positions in the orders database's WAL, oldest first. */
  readonly positions: readonly string[];
  /** Nothing is replayed from before now on: an operator has accepted a gap there. */
  forgetPositions(): void;
  /** Looks at all three; a server that is away leaves its number as it was. */
  look(): Promise<void>;
}

const topic = 'orders.placed';
const lookDeadlineMs = 4_000;

export function createProgressSampler(stack: TortureStack): ProgressSampler {
  const positions: string[] = [];
  /** Everything before these offsets has been counted, and belongs to transactions that have ended. */
  let counted: ReadonlyMap<number, bigint> = new Map();
  let [committed, published, applied] = [0, 0, 0];
  let looking: Promise<void> | undefined;

  const lookAtOrders = () =>
    withTextClient(stack.ordersUrl, async (query) => {
      const [row] = await query('SELECT count(*) AS n, pg_current_wal_insert_lsn() AS position FROM orders');
      committed = Number(row!.n);
      positions.push(row!.position!);
    });
  const lookAtCarts = () =>
    withTextClient(stack.cartsUrl, async (query) => {
      applied = Number((await query('SELECT count(*) AS n FROM applied_orders'))[0]!.n);
    });
  const lookAtKafka = async () => {
    const brokers = stack.kafka.directBootstrap.split(',');
    const logs = await readTopic({ brokers, topic, deadlineMs: lookDeadlineMs, from: counted });
    for (const { records, lastStable } of logs) {
      published += records.filter(({ offset, outcome }) => outcome === 'committed' && offset < lastStable).length;
    }
    counted = new Map(logs.map(({ partition, lastStable }) => [partition, lastStable]));
  };

  return {
    get committed() {
      return committed;
    },
    get published() {
      return published;
    },
    get applied() {
      return applied;
    },
    positions,
    forgetPositions() {
      positions.length = 0;
    },
    look() {
      // A server that hangs makes a look longer than the time between two: what is published would be counted twice.
      looking ??= Promise.allSettled([lookAtOrders(), lookAtCarts(), lookAtKafka()]).then(() => {
        looking = undefined;
      });
      return looking;
    },
  };
}
