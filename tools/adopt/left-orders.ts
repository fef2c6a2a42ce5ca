// Before an operator accepts that the captured tables were changed: are there orders that only the replaced tables hold?
// The ledger and today's tables are asked; nothing is written. Guarantees: adopt goes on only where nothing is left, or the
// operator has said how many orders may be given up.
import type { Database } from '#service/database.ts';
import { findLeftOrders, findOldTables, formatLeftOrders } from '../captured/old-tables.ts';
import { ToolRefusal } from '../run-tool.ts';
import type { ReaderFacts } from './plan-reader.ts';

const REMEDY =
  'First put the captured tables back under their names, and copy into them what was inserted into the others. Orders ' +
  'that can not be had are given up with --leave-orders N';

/**
 * `open`: connects to both databases; called only where a captured table is not under its name.
 * @throws ToolRefusal while more orders are left than `leaveOrders`, or a table is gone and nothing was said
 */
export async function requireNoOrdersLeft(
  { checkpoint, capture, tableNames }: ReaderFacts,
  leaveOrders: number | undefined,
  open: () => { readonly orders: Database; readonly carts: Database },
  print: (line: string) => void,
): Promise<void> {
  const oldTables = checkpoint === null ? [] : findOldTables(checkpoint.capture, capture, tableNames);
  if (oldTables.length === 0) return;
  const { orders, carts } = open();
  let count = 0;
  let isGone = false;
  for (const old of oldTables) {
    const found = await findLeftOrders(old, capture, orders, carts);
    count += found.left?.count ?? 0;
    isGone ||= found.left === null;
    for (const line of formatLeftOrders(found)) print(line);
  }
  if (leaveOrders === undefined && isGone) {
    throw new ToolRefusal(`a captured table is gone, and what it held with it. ${REMEDY}`);
  }
  if (count > (leaveOrders ?? 0)) throw new ToolRefusal(`${count} orders would be lost. ${REMEDY}`);
}
