// Before an operator accepts a change of the captured tables: which orders do only the replaced tables hold? Guarantees: adopt
// continues only if there are none, or no more than the operator allows to give up.
import { inspectOldTables, NO_OLD_TABLES, type OldTablesReport } from '../../captured/old-tables.ts';
import { REPLAY_TABLES } from '../../repairs.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { Servers } from './adopt-reader.ts';
import type { ReaderFacts } from './plan-reader.ts';

const REMEDY =
  'Put the captured tables back under their names, copy into them what was inserted into the others (with SET ' +
  'session_replication_role = replica, or the triggers refuse it), run adopt again, restart the reader, then run ' +
  `\`${REPLAY_TABLES}\` and \`npm run audit\`. To give up orders that can't be recovered, use --leave-orders N`;

/** Lists the orders that only the replaced tables hold, or tables that may have had the captured tables' names meanwhile. */
export async function showLeftOrders(
  { checkpoint, capture, tableNames }: Pick<ReaderFacts, 'checkpoint' | 'capture' | 'tableNames'>,
  servers: Pick<Servers, 'orders' | 'carts'>,
  print: (line: string) => void,
): Promise<OldTablesReport> {
  if (checkpoint === null) return NO_OLD_TABLES;
  const report = await inspectOldTables(checkpoint.capture, capture, tableNames, servers);
  for (const line of report.lines) print(line);
  return report;
}

/** @throws ToolRefusal if more orders are left than `leaveOrders`, or a table is gone and --leave-orders was not given */
export function requireNoOrdersLeft(
  { leftOrders, isGone }: Pick<OldTablesReport, 'leftOrders' | 'isGone'>,
  leaveOrders: number | undefined,
): void {
  if (leaveOrders === undefined && isGone) {
    throw new ToolRefusal(`a captured table was dropped, and its orders with it. ${REMEDY}`);
  }
  if (leftOrders > (leaveOrders ?? 0)) throw new ToolRefusal(`${leftOrders} orders would be lost. ${REMEDY}`);
}
