// The facts that preflight reads of an orders database as the migrations make it: it finds nothing wrong with them.
import { type ContractTable, contractTables } from '#schemas/contract-tables.ts';
import type { PreflightFacts } from '../../../cdc-reader/startup/preflight.ts';
import { exampleOids, visibleCapture } from './capture.ts';

/** The contract's columns, of the types that the migrations give them or of `types`. */
const columnsOf = (table: ContractTable, types: Record<string, string> = {}) =>
  Object.entries(contractTables[table]).map(([name, [made]]) => ({ name, type: types[name] ?? made!.name }));
const strangers = [
  { name: 'status', type: 'text' },
  { name: 'somebody_elses', type: 'jsonb' },
];
export const orders = {
  columns: [...columnsOf('orders', { source: 'character varying', currency: 'character' }), ...strangers],
};
export const items = { columns: columnsOf('order_items') };
export const published = (name: string, columns: readonly { name: string }[] | null) => ({
  schema: 'public',
  name,
  oid: (exampleOids as Record<string, number>)[name] ?? 99,
  hasRowFilter: false,
  columnList: columns?.map((column) => column.name) ?? null,
});

export const goodFacts: PreflightFacts = {
  serverVersion: 180_004,
  serverVersionName: '18.4',
  walLevel: 'logical',
  inRecovery: false,
  roleName: 'reader',
  mayReplicate: true,
  mayReadAllStats: true,
  mayLogRestartPoints: true,
  slotExists: false,
  slots: { used: 9, allowed: 10 },
  walSenders: { used: 9, allowed: 10 },
  synchronousStandbyNames: '',
  encoding: { name: 'UTF8', convertsToUtf8: true },
  publication: {
    allTables: false,
    inserts: true,
    updates: false,
    deletes: false,
    truncates: false,
    viaRoot: false,
    tables: [published('order_items', items.columns), published('orders', orders.columns)],
  },
  capture: visibleCapture(),
  tables: { orders, order_items: items },
};
