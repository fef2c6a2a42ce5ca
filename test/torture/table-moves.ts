// Taking the two tables of the contract away from their names and putting them back, as people do it: by RENAME or SET
// SCHEMA, in one transaction or several, with nothing, other tables or views under the old names meanwhile. What went into
// other tables is copied in before they are dropped. Orders go on being placed all the time: whoever holds a lock on
// `orders` may want one on `order_items`, so both are locked in this order.

import { setTimeout as delay } from 'node:timers/promises';
import { withTextClient } from '../support/oracle/facts.ts';

const tables = ['orders', 'order_items'] as const;
type Table = (typeof tables)[number];

export interface TableMove {
  readonly by: 'name' | 'schema';
  readonly inOneTransaction: boolean;
  /** Which one is moved first, where there are several transactions. */
  readonly itemsFirst: boolean;
  readonly inBetween: 'nothing' | 'tables' | 'views';
  /** How the copy gets past the triggers that refuse items of another transaction than their order's. */
  readonly triggersOff: 'replica' | 'disabled';
}

const triesAfterDeadlock = 5;
const betweenTransactionsMs = 150;

export async function moveAway(ordersUrl: string, move: TableMove): Promise<void> {
  await run(ordersUrl, move, (table) => [...leaveName(table, move), ...fillName(table, move)]);
}

export async function putBack(ordersUrl: string, move: TableMove): Promise<void> {
  await run(ordersUrl, move, (table) => [...emptyName(table, move), ...takeName(table, move)]);
  if (move.by === 'schema') await withTextClient(ordersUrl, (query) => query('DROP SCHEMA away'));
}

const awayName = (table: Table, { by }: TableMove) => (by === 'name' ? `public.${table}_away` : `away.${table}`);

const leaveName = (table: Table, { by }: TableMove): string[] =>
  by === 'name'
    ? [`ALTER TABLE public.${table} RENAME TO ${table}_away`]
    : ['CREATE SCHEMA IF NOT EXISTS away', `ALTER TABLE public.${table} SET SCHEMA away`];

function fillName(table: Table, move: TableMove): string[] {
  if (move.inBetween === 'nothing') return [];
  const away = awayName(table, move);
  return move.inBetween === 'views'
    ? [`CREATE VIEW public.${table} AS SELECT * FROM ${away}`]
    : [`CREATE TABLE public.${table} (LIKE ${away} INCLUDING ALL)`];
}

function emptyName(table: Table, move: TableMove): string[] {
  if (move.inBetween === 'nothing') return [];
  if (move.inBetween === 'views') return [`DROP VIEW public.${table}`];
  const away = awayName(table, move);
  const copy = [
    `LOCK TABLE public.${table} IN ACCESS EXCLUSIVE MODE`,
    `INSERT INTO ${away} SELECT * FROM public.${table}`,
  ];
  const copied =
    move.triggersOff === 'replica'
      ? ['SET LOCAL session_replication_role = replica', ...copy]
      : [`ALTER TABLE ${away} DISABLE TRIGGER USER`, ...copy, `ALTER TABLE ${away} ENABLE TRIGGER USER`];
  return [...copied, `DROP TABLE public.${table}`];
}

const takeName = (table: Table, move: TableMove): string[] =>
  move.by === 'name'
    ? [`ALTER TABLE ${awayName(table, move)} RENAME TO ${table}`]
    : [`ALTER TABLE ${awayName(table, move)} SET SCHEMA public`];

async function run(ordersUrl: string, move: TableMove, statementsFor: (table: Table) => string[]): Promise<void> {
  const order = move.itemsFirst && !move.inOneTransaction ? tables.toReversed() : tables;
  const statements = order.map(statementsFor);
  for (const transaction of move.inOneTransaction ? [statements.flat()] : statements) {
    await transact(ordersUrl, transaction);
    if (!move.inOneTransaction) await delay(betweenTransactionsMs);
  }
}

/** In the midst of several transactions an order may span both worlds, and then wait the other way round. */
async function transact(ordersUrl: string, statements: readonly string[]): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      // Without parameters, all of them go as one message.
      await withTextClient(ordersUrl, (query) => query(['BEGIN', ...statements, 'COMMIT'].join(';\n')));
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== '40P01' || tries === triesAfterDeadlock) throw error;
    }
  }
}
