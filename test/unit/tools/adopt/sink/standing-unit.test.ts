// What of a whole batch is kept; with a broker: test/fault/halts/every-halt.test.ts.
import { describe, expect, it } from 'vitest';
import { BatchUnreadableError } from '#kafka/protocol/batch-errors.ts';
import type { FirstUnit } from '#kafka/reading/first-unit.ts';
import { describeBatch, KEPT_BATCH_BYTES, readStandingUnit } from '../../../../../tools/adopt/sink/standing-unit.ts';

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

describe('what stands at the offset of a halted partition', () => {
  const row = { topic: 'live', partition: 3, halted_message: 'x', halted_at: new Date(0), owner_epoch: 1n };
  const read = (
    unit: FirstUnit,
    halted_code: string,
    offsets = { earliest: 0n, lastStable: 9n, highWatermark: 9n },
  ) => {
    const log = { readOffsets: async () => new Map([[3, offsets]]), readFirstUnit: async () => unit };
    return readStandingUnit(log as never, { ordersTopic: 'live' }, { ...row, halted_code, next_offset: 5n } as never);
  };
  const record: FirstUnit = {
    kind: 'record',
    record: { offset: 6n, key: null, value: Buffer.from('garbage'), headers: {} },
  };

  it('is a record, or a batch that can not be read', async () => {
    expect(await read(record, 'UNKNOWN_SCHEMA')).toMatchObject({
      kind: 'record',
      parked: { offset: 6n, lastOffset: 6n },
    });
    const unit = await read({ kind: 'batch', batch: batch(Buffer.alloc(3)) }, 'BATCH_UNREADABLE');
    expect(unit).toMatchObject({ kind: 'batch', parked: { offset: 6n, lastOffset: 8n } });
  });

  it('is never the first record of a batch that this program can read, and the sinks can not', async () => {
    await expect(read(record, 'BATCH_TOO_LARGE')).rejects.toThrow(/can read the batch .* MAX_EXPANDED_BATCH_BYTES/);
  });

  it('is not parked while the end of its batch is not certain, or where Kafka does not have it', async () => {
    const uncertain: FirstUnit = { kind: 'uncertain', why: 'it states that it ends before offset 900', batchBytes: 3 };
    await expect(read(uncertain, 'BATCH_UNREADABLE')).rejects.toThrow(/not certain: it states .*kafka-delete-records/);
    const gone = { earliest: 7n, lastStable: 9n, highWatermark: 9n };
    await expect(read(record, 'BATCH_UNREADABLE', gone)).rejects.toThrow(/holds 7 to 9.* adopt -- sink/);
  });
});
