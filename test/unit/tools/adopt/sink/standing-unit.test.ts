// What of a whole batch is kept; with a broker: test/fault/halts/every-halt.test.ts.
import { describe, expect, it } from 'vitest';
import { BatchUnreadableError } from '#kafka/batch-errors.ts';
import { describeBatch, KEPT_BATCH_BYTES } from '../../../../../tools/adopt/sink/standing-unit.ts';

const halted = { halted_code: 'BATCH_UNREADABLE', next_offset: 5n };
const error = new BatchUnreadableError({ topic: 'live', partition: 3, baseOffset: 6n }, 'its checksum does not fit');
const batch = (bytes: Buffer) => ({ baseOffset: 6n, endOffset: 9n, bytes, statedCrc: 1, actualCrc: 0xff, error });

describe('a whole batch', () => {
  it('is parked at its first offset, through its last one, with its bytes', () => {
    const bytes = Buffer.alloc(KEPT_BATCH_BYTES);
    const { parked } = describeBatch(halted, batch(bytes));
    expect(parked).toMatchObject({ offset: 6n, lastOffset: 8n, key: null });
    expect(parked.value).toBe(bytes);
    expect(parked.reason).toContain('offsets 6 to 8, 16777216 bytes, CRC-32C 00000001, of its bytes 000000ff');
  });

  it('is described where it is too large to be kept', () => {
    const { parked } = describeBatch(halted, batch(Buffer.alloc(KEPT_BATCH_BYTES + 1)));
    expect(parked).toMatchObject({ lastOffset: 8n, value: null });
    expect(parked.reason).toContain('offsets 6 to 8, 16777217 bytes (not kept), CRC-32C 00000001');
  });

  it('is parked from where the partition stands, if that lies inside of it', () => {
    expect(describeBatch({ ...halted, next_offset: 7n }, batch(Buffer.alloc(1))).parked.offset).toBe(7n);
  });
});
