// What stands first in a partition's bytes: above all that no good record is passed over with a batch that can't be read.
import { describe, expect, it } from 'vitest';
import { findFirstUnit } from '#kafka/reading/first-unit.ts';
import { encodeBatches, end, seal, send } from '../../../support/examples/record-batches.ts';

const find = (bytes: Buffer, fromOffset: bigint, stableOffset: bigint) =>
  findFirstUnit(bytes, { topic: 'live', partition: 3, aborted: [], fromOffset, stableOffset });
const damage = (batch: Buffer, at = batch.length - 3): Buffer => {
  const bytes = Buffer.from(batch);
  bytes[at]! ^= 0x10;
  return bytes;
};
/** A sealed batch whose header states another end. */
const claim = (batch: Buffer, lastOffsetDelta: number): Buffer => {
  const bytes = Buffer.from(batch);
  bytes.writeInt32BE(lastOffsetDelta, 23);
  return bytes;
};

describe('the first unit of a partition', () => {
  it('is the first record, also where a batch that can not be read follows', async () => {
    const bytes = Buffer.concat([
      await encodeBatches(send(5, 1, 'a', 'b')),
      damage(await encodeBatches(send(7, 1, 'c'))),
    ]);
    expect(find(bytes, 6n, 8n)).toMatchObject({ kind: 'record', record: { offset: 6n } });
  });

  it('is a damaged batch as a whole, behind control records, with its bytes and both checksums', async () => {
    const bad = damage(await encodeBatches(send(6, 1, 'c', 'd')));
    const bytes = Buffer.concat([await encodeBatches(end(5, 1, 'commit')), bad, await encodeBatches(send(8, 1, 'e'))]);
    const unit = find(bytes, 5n, 9n);
    expect(unit).toMatchObject({
      kind: 'batch',
      batch: { baseOffset: 6n, endOffset: 8n, bytes: bad, statedCrc: bad.readUInt32BE(17) },
    });
    if (unit.kind !== 'batch') throw new Error('no batch');
    expect(unit.batch.actualCrc).not.toBe(unit.batch.statedCrc);
    expect(unit.batch.error.code).toBe('BATCH_UNREADABLE');
  });

  it('is a damaged batch with which the partition ends', async () => {
    const bad = damage(await encodeBatches(send(6, 1, 'c', 'd')));
    expect(find(bad, 6n, 8n)).toMatchObject({ kind: 'batch', batch: { endOffset: 8n } });
  });

  it.each([
    ['more offsets than it has, over good records', 5],
    ['fewer offsets than it has', 0],
    ['an end before its begin', -7],
    ['an end beyond the partition', 900],
  ])('is uncertain where the header states %s', async (_, lastOffsetDelta) => {
    const bad = claim(await encodeBatches(send(6, 1, 'c', 'd')), lastOffsetDelta);
    const bytes = Buffer.concat([bad, await encodeBatches(send(8, 1, 'e', 'f', 'g', 'h', 'i'))]);
    expect(find(bytes, 6n, 13n)).toMatchObject({ kind: 'uncertain' });
  });

  it('is uncertain while what follows the batch is not known', async () => {
    const bad = damage(await encodeBatches(send(6, 1, 'c', 'd')));
    expect(find(bad, 6n, 9n)).toMatchObject({ kind: 'uncertain', batchBytes: bad.length });
    const length = Buffer.from(bad);
    length.writeInt32BE(3, 8);
    expect(find(length, 6n, 8n)).toMatchObject({ kind: 'uncertain' });
  });

  it('is none where only control and aborted records are left', async () => {
    const bytes = await encodeBatches(send(5, 1, 'a'), end(6, 1, 'abort'));
    const at = { topic: 'live', partition: 3, fromOffset: 5n, stableOffset: 7n };
    expect(findFirstUnit(bytes, { ...at, aborted: [{ producerId: 1n, firstOffset: 5n }] })).toEqual({
      kind: 'none',
      nextOffset: 7n,
    });
  });

  it('is a batch too that contradicts itself under a checksum that fits', async () => {
    const bad = await encodeBatches(send(6, 1, 'c', 'd'));
    bad.writeInt32BE(9, 57); // more records than it has
    expect(find(seal(bad), 6n, 8n)).toMatchObject({ kind: 'batch', batch: { endOffset: 8n } });
  });
});
