/**
 * What the carts database has of one order: when it was applied, what it took out of which line, and its parked records.
 *
 * Guarantees that nothing of another order is read, and no payload. Leaves to the route: who may ask.
 */
import { parseLsn } from '#schemas/lsn.ts';
import type { CartsOrder } from '#schemas/order-path.ts';
import { formatPosition } from '#schemas/position.ts';
import type { Database } from '#service/database.ts';
import { type LedgerFactsRow, readLedgerFacts } from '../sql/applied-orders.ts';
import { type RemovalFactsRow, readRemovalFacts } from '../sql/cart-removals.ts';
import { type ParkedOfOrderRow, readParkedOfOrder } from '../sql/parked-events.ts';
import { formatParked } from './parked.ts';

/** @throws the database's error */
export async function readCartsOrder({ pool }: Pick<Database, 'pool'>, orderId: string): Promise<CartsOrder> {
  const [ledger]: LedgerFactsRow[] = await pool.query(readLedgerFacts(orderId));
  const removals: RemovalFactsRow[] = ledger === undefined ? [] : await pool.query(readRemovalFacts(orderId));
  const parked: ParkedOfOrderRow[] = await pool.query(readParkedOfOrder(orderId));
  return {
    orderId,
    applied: ledger === undefined ? null : { ...formatLedger(ledger), removals },
    parked: parked.map(({ outcome, ...row }) => ({ ...formatParked(row), outcome })),
  };
}

function formatLedger({ applied_at, timeline, commit_lsn, ordinal, rule_version, source }: LedgerFactsRow) {
  return {
    at: applied_at.toISOString(),
    position: formatPosition({ timeline, commitLsn: parseLsn(commit_lsn), ordinal }),
    ruleVersion: rule_version,
    source,
  };
}
