// What an operator is shown of a record that the sinks could not apply.
import { describe, expect, it } from 'vitest';
import { formatReplayEnd } from '#schemas/replay/records.ts';
import { formatRecord, readRecord } from '../../../tools/describe-record.ts';
import { encodeOrderPlaced } from '../../support/examples/encode-order-placed.ts';
import { createEvent } from '../../support/examples/order-placed-events.ts';

const event = createEvent({ userId: 'user-of-the-order' });
const order = { offset: 5n, key: Buffer.from(event.userId), value: encodeOrderPlaced(event), headers: {} };
const unknown = { ...order, value: Buffer.from(order.value) };
unknown.value[3]! ^= 0xff;

describe('a record', () => {
  it('is read as the sink reads it', () => {
    expect(readRecord(order, 'live')).toMatchObject({ kind: 'order', order: { orderId: event.orderId } });
    expect(readRecord({ ...order, key: Buffer.from('x') }, 'live')).toMatchObject({ kind: 'unreadable' });
    expect(readRecord({ ...order, value: null }, 'live')).toEqual({
      kind: 'unreadable',
      why: 'the record has no value',
    });
    expect(readRecord(order, 'unmarked')).toMatchObject({ kind: 'unreadable' });
    expect(readRecord(order, 'progress')).toEqual({ kind: 'control' });
    const end = { ...order, value: formatReplayEnd({ count: 1n, checksum: 2n }) };
    expect(readRecord(end, 'end')).toEqual({ kind: 'control' });
  });

  it('of an unknown schema is unreadable, by its fingerprint', () => {
    expect(readRecord(unknown, 'live')).toMatchObject({
      kind: 'unreadable',
      why: expect.stringMatching(/no schema with fingerprint [0-9a-f]{16}/),
    });
  });

  it('is shown by its sizes, its first bytes and what the decoder reads, without what was ordered', () => {
    const text = formatRecord(order, readRecord(order, 'live')).join('\n');
    expect(text).toContain(`value    ${order.value.length} bytes`);
    expect(text).toMatch(/^ {2}bytes {4}c3 01( [0-9a-f]{2}){62} …$/m);
    expect(text).toContain(`a readable order, ${event.orderId}, committed at `);
    expect(text).not.toContain(event.userId);
    const empty = { key: null, value: null };
    expect(formatRecord(empty, { kind: 'unreadable', why: 'the record has no value' })).toEqual([
      '  key      none',
      '  value    none',
      '  decoder  the record has no value',
    ]);
  });
});
