// Before an operator accepts a change of the captured tables: which orders do only the replaced tables hold? Compares them
// with the ledger and today's tables; writes nothing. Guarantees: adopt continues only if there are none, or no more than the
// operator allows to give up.
import { compareCapture } from '#schemas/capture-fingerprint.ts';
import {
  countLeftOrders,
  findLeftOrders,
  findOldTables,
  findStandIns,
  formatLeftOrders,
} from '../../captured/old-tables.ts';
import { REPLAY_TABLES } from '../../repairs.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { Servers } from './adopt-reader.ts';
import type { ReaderFacts } from './plan-reader.ts';

const REMEDY =
  'Put the captured tables back under their names, copy into them what was inserted into the others (with SET ' +
  'session_replication_role = replica, or the triggers refuse it), run adopt again, restart the reader, then run ' +
  `\`${REPLAY_TABLES}\` and \`npm run audit\`. To give up orders that can't be recovered, use --leave-orders N`;

type Changed = Pick<ReaderFacts, 'checkpoint' | 'capture' | 'tableNames'>;

/** What only the replaced tables hold: orders, each counted once; `isGone`: one of the tables does not exist any more. */
export interface Left {
  readonly count: number;
  readonly isGone: boolean;
}

/**
 * Counts and lists the orders that only the replaced tables hold, or tables that may have had the captured tables' names
 * meanwhile. Connects to the databases only if the captured tables have changed.
 */
export async function showLeftOrders(
  { checkpoint, capture, tableNames }: Changed,
  servers: Pick<Servers, 'orders' | 'carts'>,
  print: (line: string) => void,
): Promise<Left> {
  if (checkpoint === null) return { count: 0, isGone: false };
  const { differences } = compareCapture(checkpoint.capture, capture);
  const oldTables = findOldTables(checkpoint.capture, capture, tableNames);
  if (oldTables.length === 0 && differences.every(({ subject }) => subject === 'publication')) {
    return { count: 0, isGone: false };
  }
  const [orders, carts] = [servers.orders(), servers.carts()];
  const standIns = await findStandIns(orders, capture, oldTables);
  const all = await findLeftOrders([...oldTables, ...standIns], capture, orders, carts);
  const notable = all.filter(({ old, left }) => !old.isStandIn || left?.count !== 0);
  for (const line of notable.flatMap(formatLeftOrders)) print(line);
  return { count: countLeftOrders(all), isGone: all.some(({ left }) => left === null) };
}

/** @throws ToolRefusal if more orders are left than `leaveOrders`, or a table is gone and --leave-orders was not given */
export function requireNoOrdersLeft({ count, isGone }: Left, leaveOrders: number | undefined): void {
  if (leaveOrders === undefined && isGone) {
    throw new ToolRefusal(`a captured table was dropped, and its orders with it. ${REMEDY}`);
  }
  if (count > (leaveOrders ?? 0)) throw new ToolRefusal(`${count} orders would be lost. ${REMEDY}`);
}
