// The path of an order as lines for a terminal. Pure. Guarantees: what is not there is named with its reason, and what repairs it
// with its command.
import { type CartsOrder, type OrderPath, orderStates } from '#schemas/order-path.ts';

type Field = readonly [name: string, value: string];

export function renderPath(path: OrderPath): string[] {
  const { orderId, state, order, event, carts, problems } = path;
  const fields: Field[] = [['state', `${state}: ${orderStates[state]}`]];
  if (order === null) fields.push(['order', 'not in the orders database']);
  else {
    const { userId, source, placedAt, items, xid } = order;
    const goods = items.map(({ sku, quantity }) => `${quantity} ${sku}`).join(', ');
    fields.push(['order', `of ${userId}, ${source === 'cart' ? 'from the cart' : source}: ${goods}`]);
    fields.push(['placed', `${placedAt}${xid === null ? '' : `, in transaction ${xid}`}`]);
  }
  fields.push(...renderEvent(path));
  if (event !== null) fields.push(['trace', event.traceparent ?? 'none']);
  if (carts?.applied) fields.push(...renderApplied(path, carts.applied));
  else fields.push(...renderDelay(path));
  for (const { id, topic, partition, offset, reason, parkedAt, outcome, command } of carts?.parked ?? []) {
    const what = `${parkedAt} as ${id} at ${topic}[${partition}]@${offset}: ${reason}`;
    fields.push(['parked', `${what} (${outcome ?? command})`]);
  }
  for (const problem of problems) fields.push(['problem', problem]);
  const width = Math.max(...fields.map(([name]) => name.length));
  return [`Order ${orderId}`, ...fields.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)];
}

function renderEvent({ event, order, state, reader }: OrderPath): Field[] {
  if (event !== null) {
    const { topic, partition, offset, position, committedAt } = event;
    return [
      ['committed', `${committedAt}, at ${position}`],
      ['record', `${topic}[${partition}]@${offset}`],
    ];
  }
  if (order === null || state === 'unknown') return [];
  const why = state === 'forgotten' ? 'Kafka no longer goes back to it' : 'not in the live topic';
  return [['record', `${why}${state === 'placed' ? `: ${explainReader(reader)}` : ''}`]];
}

function explainReader(reader: OrderPath['reader']): string {
  if (reader === null) return 'how far the reader is could not be read';
  const { acknowledged, active, walEnd } = reader;
  if (acknowledged === null) return 'the reader has no slot yet';
  const at = `the reader has acknowledged up to ${acknowledged}, the WAL ends at ${walEnd}`;
  return active ? at : `${at}; no reader streams (see its /health/pipeline)`;
}

function renderDelay({ partition, event, state }: OrderPath): Field[] {
  if (partition === null || event === null) return [];
  const { topic, nextOffset, ownerEpoch, halted } = partition;
  const at = `${topic}[${partition.partition}] is applied up to offset ${nextOffset}, by owner epoch ${ownerEpoch}`;
  if (halted !== null && state === 'halted') {
    return [
      ['applied', `not yet: ${at}`],
      ['halted', `${halted.code} since ${halted.since}: ${halted.command}`],
    ];
  }
  return [['applied', `${state === 'published' ? 'not yet' : 'no'}: ${at}`]];
}

function renderApplied({ partition }: OrderPath, applied: NonNullable<CartsOrder['applied']>): Field[] {
  const { at, position, ruleVersion, removals } = applied;
  const owner = partition === null ? '' : `; its partition's owner epoch is ${partition.ownerEpoch} now`;
  return [
    ['applied', `${at}, position ${position}, rule ${ruleVersion}${owner}`],
    ...removals.map(({ lineNo, ...removal }): Field => [`line ${lineNo}`, renderRemoval(removal)]),
  ];
}

const outcomes: Readonly<Record<string, string>> = {
  removed: '',
  partial: ': all that was there',
  absent: ': the cart had no such line, or none any more',
  mismatch: ': the line that it names is another user’s, or of another SKU',
  direct: ': a direct order takes nothing out of a cart',
};

function renderRemoval(entry: Omit<NonNullable<CartsOrder['applied']>['removals'][number], 'lineNo'>): string {
  const { sku, ordered, removed, outcome, lineId } = entry;
  const line = lineId === null ? '' : ` (line ${lineId})`;
  if (entry.entry > 0) {
    const change = removed < 0 ? `gave ${-removed} ${sku} back` : `removed ${removed} more ${sku}`;
    return `a replay ${change}${line}`;
  }
  return `${removed} of ${ordered} ${sku} removed${line}${outcomes[outcome] ?? `: ${outcome}`}`;
}
