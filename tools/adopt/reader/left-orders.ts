// Before an operator accepts that the captured tables were changed: are there orders that only the replaced tables hold?
// The ledger and today's tables are asked; nothing is written. Guarantees: adopt goes on only where nothing is left, or the
// operator has said how many orders may be given up.
import { compareCapture } from '#schemas/capture-fingerprint.ts';
import type { Database } from '#service/database.ts';
import {
  countLeftOrders,
  findLeftOrders,
  findOldTables,
  findStandIns,
  formatLeftOrders,
} from '../../captured/old-tables.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { ReaderFacts } from './plan-reader.ts';

const REMEDY =
  'Put the captured tables back under their names, copy into them what was inserted into the others (SET session_replication_role = replica, ' +
  'or the triggers refuse it), run adopt again, restart the reader, then run `npm run replay -- --source tables` and `npm run audit`. Orders that can not be had are given up ' +
  'with --leave-orders N';

type Changed = Pick<ReaderFacts, 'checkpoint' | 'capture' | 'tableNames'>;

/** What is left in the replaced tables: orders, each counted once, and whether one of the tables is gone. */
export interface Left {
  readonly count: number;
  readonly isGone: boolean;
}

/**
 * Counts and lists what only the replaced tables hold, and tables that may have stood in for the captured ones meanwhile.
 * `open`: connects to both databases; called only where the captured tables have changed.
 */
export async function showLeftOrders(
  { checkpoint, capture, tableNames }: Changed,
  open: () => { readonly orders: Database; readonly carts: Database },
  print: (line: string) => void,
): Promise<Left> {
  if (checkpoint === null) return { count: 0, isGone: false };
  const { differences } = compareCapture(checkpoint.capture, capture);
  const oldTables = findOldTables(checkpoint.capture, capture, tableNames);
  if (oldTables.length === 0 && differences.every(({ subject }) => subject === 'publication')) {
    return { count: 0, isGone: false };
  }
  const { orders, carts } = open();
  const standIns = await findStandIns(orders, capture, oldTables);
  const all = await findLeftOrders([...oldTables, ...standIns], capture, orders, carts);
  const worthSaying = all.filter(({ old, left }) => !old.isStandIn || left?.count !== 0);
  for (const line of worthSaying.flatMap(formatLeftOrders)) print(line);
  return { count: countLeftOrders(all), isGone: all.some(({ left }) => left === null) };
}

/** @throws ToolRefusal while more orders are left than `leaveOrders`, or a table is gone and nothing was said */
export function requireNoOrdersLeft({ count, isGone }: Left, leaveOrders: number | undefined): void {
  if (leaveOrders === undefined && isGone) {
    throw new ToolRefusal(`a captured table is gone, and what it held with it. ${REMEDY}`);
  }
  if (count > (leaveOrders ?? 0)) throw new ToolRefusal(`${count} orders would be lost. ${REMEDY}`);
}
