// What today's program reads in a record that the sinks could not apply, and the lines that show such a record to an operator.
// Guarantees: the sink's own parser decides. Of an order only its id and position are shown; the bytes are those of the record.
import type { LogRecord } from '#kafka/protocol/record.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { formatPosition } from '#schemas/position.ts';
import { parseRecord, type RecordKind } from '../cart-sink/consume/parse-records.ts';

export type Reading =
  | { readonly kind: 'order'; readonly order: OrderPlaced }
  /** Of the replay tool, and no order. */
  | { readonly kind: 'control' }
  | { readonly kind: 'unreadable'; readonly why: string };

export function readRecord(record: LogRecord, kind: RecordKind): Reading {
  try {
    const entry = parseRecord(record, kind);
    if (entry?.kind === 'order') return { kind: 'order', order: entry.event };
    return entry?.kind === 'unreadable' ? { kind: 'unreadable', why: entry.reason } : { kind: 'control' };
  } catch (error) {
    // An unknown schema, or a defect of this program: what the sinks halt with.
    return { kind: 'unreadable', why: (error as Error).message };
  }
}

/** How many bytes are shown: the header of an event, and its first fields. */
const SHOWN_BYTES = 64;

export function formatRecord({ key, value }: Pick<LogRecord, 'key' | 'value'>, reading: Reading): string[] {
  const size = (bytes: Buffer | null) => (bytes === null ? 'none' : `${bytes.length} bytes`);
  const lines = [`  key      ${size(key)}`, `  value    ${size(value)}`];
  if (value !== null && value.length > 0) {
    const more = value.length > SHOWN_BYTES ? ' …' : '';
    lines.push(
      `  bytes    ${value
        .subarray(0, SHOWN_BYTES)
        .toString('hex')
        .replace(/..(?=.)/g, '$& ')}${more}`,
    );
  }
  return [...lines, `  decoder  ${formatReading(reading)}`];
}

function formatReading(reading: Reading): string {
  if (reading.kind === 'order') {
    return `a readable order, ${reading.order.orderId}, committed at ${formatPosition(reading.order)}`;
  }
  return reading.kind === 'control' ? 'a record of the replay tool that is no order' : reading.why;
}
