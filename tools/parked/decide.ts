// The commands on parked events, each top to bottom. Guarantees: list shows no bytes, and nothing changes before the yes; what
// cannot be read is refused by name. What a decision changes, in one transaction, is the sink's decide-parked.ts.
import type { Database } from '#service/database.ts';
import {
  discardParkedEvent,
  type ParkedEvent,
  retryParkedOrder,
  type Undecided,
} from '../../cart-sink/apply/decide-parked.ts';
import { type Conversation, requireYes } from '../confirm.ts';
import { formatRecord, type Reading, readRecord } from '../describe-record.ts';
import { ToolRefusal } from '../run-tool.ts';
import { listParkedEvents, type ParkedEventRow, type ParkedRecordRow, readParkedEvent } from '../sql/parked-events.ts';

export interface ParkedContext {
  readonly carts: Database;
  readonly ordersTopic: string;
  readonly conversation: Conversation;
}

export interface ParkedChange {
  readonly parkedId: bigint;
  readonly yes: boolean;
  readonly by: string;
}

/** Returns what it lists, for programs. */
export async function listParked({ carts, conversation }: ParkedContext, all: boolean) {
  const rows: ParkedEventRow[] = await carts.pool.query(listParkedEvents(all));
  for (const row of rows) conversation.print(formatParkedEvent(row));
  if (rows.length === 0) conversation.print(all ? 'Nothing was ever parked.' : 'Nothing is parked.');
  return { parked: rows.map(toData) };
}

/** `parked_at` becomes `parkedAt`: as the sink's operations port names them. */
function toData({ parked_id, consumer_group, topic, partition, offset, reason, parked_at, ...row }: ParkedEventRow) {
  const { outcome, outcome_at: at, outcome_by: by, outcome_reason: why } = row;
  const decided = outcome === null ? null : { outcome, at, by, reason: why };
  return {
    id: parked_id,
    consumerGroup: consumer_group,
    topic,
    partition,
    offset,
    reason,
    parkedAt: parked_at,
    decided,
  };
}

/** `ID  place  when  reason`, and its outcome. */
export function formatParkedEvent(row: ParkedEventRow): string {
  const { parked_id, consumer_group, topic, partition, offset, reason, parked_at } = row;
  const place = `${topic}[${partition}]@${offset}`;
  return `${parked_id}  ${place}  ${parked_at.toISOString()}  ${consumer_group}  ${reason}${formatOutcome(row)}`;
}

function formatOutcome({ outcome, outcome_at, outcome_by, outcome_reason }: ParkedEventRow): string {
  return outcome === null ? '' : `  [${outcome} ${outcome_at!.toISOString()} by ${outcome_by}: ${outcome_reason}]`;
}

/** Returns what it shows, for programs, with the bytes in hexadecimal. */
export async function showParked(context: ParkedContext, parkedId: bigint) {
  const row = await readParked(context, parkedId);
  const reading = read(row);
  context.conversation.print(formatParkedEvent(row));
  for (const line of formatRecord(row, reading)) context.conversation.print(line);
  if (row.outcome === null) {
    context.conversation.print(`To apply it after all: npm run parked -- retry ${parkedId}`);
    context.conversation.print(`To give it up: npm run parked -- discard ${parkedId} --reason '…'`);
  }
  const hex = (bytes: Buffer | null) => bytes?.toString('hex') ?? null;
  const found =
    reading.kind === 'order' ? { orderId: reading.order.orderId } : { why: 'why' in reading ? reading.why : null };
  return { ...toData(row), key: hex(row.key), value: hex(row.value), decoder: { kind: reading.kind, ...found } };
}

/** @throws ToolRefusal if it can't be read, or was discarded; nothing was changed */
export async function retryParked(context: ParkedContext, { parkedId, yes, by }: ParkedChange): Promise<void> {
  const { carts, ordersTopic, conversation } = context;
  const row = await readParked(context, parkedId);
  conversation.print(formatParkedEvent(row));
  const event = toEvent(row, by);
  if (event.place.topic !== ordersTopic) {
    throw new ToolRefusal(
      `it was parked from ${event.place.topic}, not from the live topic ${ordersTopic}: an order of a replay is applied by ` +
        'replaying it again',
    );
  }
  const reading = read(row);
  for (const line of formatRecord(row, reading)) conversation.print(line);
  if (reading.kind !== 'order') {
    throw new ToolRefusal(
      `this program reads no order in it${reading.kind === 'unreadable' ? ` (${reading.why})` : ''}; nothing was changed. Deploy a ` +
        'version that reads it, or discard it',
    );
  }
  if (row.outcome === null) await requireYes('Apply this order?', yes, conversation.streams);
  const decision = await retryParkedOrder(carts.pool, event, reading.order);
  conversation.print(describeRetry(decision, row));
}

function describeRetry(decision: Awaited<ReturnType<typeof retryParkedOrder>>, row: ParkedEventRow): string {
  if (decision.kind === 'closed' || decision.kind === 'missing') return requireDecided(decision, row, 'retried');
  return decision.kind === 'applied'
    ? 'Done: the order is applied.'
    : 'Done: the ledger had the order, so no cart was changed.';
}

/** @throws ToolRefusal if its order was applied */
export async function discardParked(
  context: ParkedContext,
  { parkedId, yes, by, reason }: ParkedChange & { readonly reason: string },
): Promise<void> {
  const { carts, conversation } = context;
  const row = await readParked(context, parkedId);
  conversation.print(formatParkedEvent(row));
  const reading = read(row);
  for (const line of formatRecord(row, reading)) conversation.print(line);
  if (row.outcome === null) await requireYes('Discard this record?', yes, conversation.streams);
  const decision = await discardParkedEvent(carts.pool, toEvent(row, by), reason);
  conversation.print(
    decision.kind === 'discarded'
      ? 'Done: the record is discarded; its bytes are kept.'
      : requireDecided(decision, row, 'discarded'),
  );
}

/** What was done before is no failure if it is what was asked for. @throws ToolRefusal otherwise */
function requireDecided(decision: Undecided, row: ParkedEventRow, wanted: 'retried' | 'discarded'): string {
  if (decision.kind === 'closed' && decision.outcome === wanted) {
    return `It was ${wanted} before; nothing was changed.`;
  }
  const why = decision.kind === 'missing' ? 'it was deleted meanwhile' : `it was ${decision.outcome} before`;
  throw new ToolRefusal(`parked event ${row.parked_id}: ${why}; nothing was changed`);
}

async function readParked({ carts }: ParkedContext, parkedId: bigint): Promise<ParkedRecordRow> {
  const [row]: ParkedRecordRow[] = await carts.pool.query(readParkedEvent(parkedId));
  if (row === undefined)
    throw new ToolRefusal(`there is no parked event ${parkedId}; see npm run parked -- list --all`);
  return row;
}

/** As a record of the live topic: the headers of a replayed one are not kept. */
function read({ offset, key, value }: ParkedRecordRow): Reading {
  return readRecord({ offset, key, value, headers: {} }, 'live');
}

/** Events that were set aside when their offsets came again bear the epoch in their topic. */
function toEvent({ parked_id, consumer_group, topic, partition }: ParkedEventRow, by: string): ParkedEvent {
  const place = { topic: topic.replace(/ before epoch \d+$/, ''), partition };
  return { parkedId: parked_id, consumerGroup: consumer_group, place, by };
}
