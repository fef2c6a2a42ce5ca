// The decompressors: by vectors of a real broker and of the formats' own descriptions, and against bytes that lie.
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expand } from '#kafka/compression/expand.ts';

const MEGABYTE = 1024 * 1024;
const codec = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 };
const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const snappyOf = (...blocks: Buffer[]) => {
  const framed = blocks.flatMap((block) => {
    const length = Buffer.alloc(4);
    length.writeInt32BE(block.length);
    return [length, block];
  });
  return Buffer.concat([hex('82534e415050590000000001 00000001'), ...framed]);
};
/** An LZ4 frame without checksums, of independent blocks. */
const lz4Of = (...blocks: Buffer[]) => {
  const framed = blocks.flatMap((block) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(block.length);
    return [length, block];
  });
  return Buffer.concat([hex('04224d18 6040 82'), ...framed, Buffer.alloc(4)]);
};

describe('expanding', () => {
  it('reads snappy: literals, copies of every kind, copies that overlap, one block and many', () => {
    const abc = hex('03 08 616263');
    expect(expand(codec.snappy, abc, 100).toString()).toBe('abc');
    expect(expand(codec.snappy, snappyOf(abc, abc), 100).toString()).toBe('abcabc');
    // A stream behind another one has a header of its own.
    expect(expand(codec.snappy, Buffer.concat([snappyOf(abc), snappyOf(abc)]), 100).toString()).toBe('abcabc');
    // abc, then 7 bytes from 3 back by a copy with one byte of offset; 2 and 4 bytes of offset likewise.
    expect(expand(codec.snappy, hex('0a 08 616263 0d 03'), 100).toString()).toBe('abcabcabca');
    expect(expand(codec.snappy, hex('0a 08 616263 1a 0300'), 100).toString()).toBe('abcabcabca');
    expect(expand(codec.snappy, hex('0a 08 616263 1b 03000000'), 100).toString()).toBe('abcabcabca');
    const literal = Buffer.alloc(300, 'x');
    expect(expand(codec.snappy, Buffer.concat([hex('ac02 f4 2b01'), literal]), 300)).toEqual(literal);
  });

  it('reads LZ4: matches that overlap, long lengths, stored blocks, linked blocks, several frames', () => {
    // "abc", a match of 4 + 3 from 3 back, and the last literal.
    const block = hex('33 616263 0300 10 64');
    expect(expand(codec.lz4, lz4Of(block), 100).toString()).toBe('abcabcabcad');
    expect(expand(codec.lz4, Buffer.concat([lz4Of(block), lz4Of(block)]), 100).toString()).toBe(
      'abcabcabcad'.repeat(2),
    );
    const long = Buffer.concat([hex('ff ff 1e'), Buffer.alloc(300, 'x'), hex('0100 ff 00 00')]);
    expect(expand(codec.lz4, lz4Of(long), 1_000)).toEqual(Buffer.alloc(300 + 15 + 255 + 4, 'x'));
    const stored = Buffer.concat([hex('04224d18 6040 82'), hex('03000080 616263'), Buffer.alloc(4)]);
    expect(expand(codec.lz4, stored, 100).toString()).toBe('abc');
    // Content size, block and content checksums are passed over; the second block refers to the first.
    const linked = hex('04224d18 5c40 0a00000000000000 00 03000080 616263 11111111 06000000 03 0300 10 64 00');
    expect(() => expand(codec.lz4, linked, 100)).toThrow(RangeError);
    const whole = hex(
      '04224d18 5c40 0b00000000000000 00 03000080 616263 11111111 05000000 03 0300 10 64 22222222 00000000 33333333',
    );
    expect(expand(codec.lz4, whole, 100).toString()).toBe('abcabcabcad');
  });

  it('refuses what refers to nothing, ends early, or states another length than it has', () => {
    const wrong: [number, Buffer][] = [
      [codec.snappy, hex('')],
      [codec.snappy, hex('ffffffffff7f')],
      [codec.snappy, hex('04 08 616263')],
      [codec.snappy, hex('02 08 616263')],
      [codec.snappy, hex('0a 08 616263 0d 04')],
      [codec.snappy, hex('0a 08 616263 0d 00')],
      [codec.snappy, hex('0a f7 ffffffff')],
      [codec.snappy, hex('03 fc ffffffff')],
      [codec.snappy, hex('82534e4150505900000000010000000100000009 03')],
      [codec.snappy, hex('82534e41505059000000000100000001ffffffff 03')],
      // The second block refers to the first, which each block of a stream must not.
      [codec.snappy, snappyOf(hex('03 08 616263'), hex('04 01 03'))],
      [codec.lz4, hex('04224d18')],
      [codec.lz4, hex('04224d17 6040 82 00000000')],
      [codec.lz4, hex('04224d18 2040 82 00000000')],
      [codec.lz4, hex('04224d18 6140 00000000 82 00000000')],
      [codec.lz4, hex('04224d18 6040 82 ffffff7f 33')],
      [codec.lz4, hex('04224d18 6040 82 ffffffff 33')],
      [codec.lz4, lz4Of(hex('33 616263 0400 10 64'))],
      [codec.lz4, lz4Of(hex('33 616263 0000 10 64'))],
      [codec.lz4, lz4Of(hex('f3 ffffff'))],
      [codec.lz4, lz4Of(hex('33 616263 0300'))],
      [codec.gzip, gzipSync('abc').subarray(0, 12)],
      [codec.zstd, zstdCompressSync('abc').subarray(0, 8)],
      [7, hex('00')],
    ];
    for (const [index, [type, bytes]] of wrong.entries()) {
      expect(() => expand(type, bytes, 1_000), `case ${index}`).toThrow(RangeError);
    }
  });

  it('ends at the limit, whatever the codec, and takes what fits it exactly', () => {
    const zeros = Buffer.alloc(4 * MEGABYTE);
    const snappy = Buffer.concat([hex('80 80 80 02 00 00'), Buffer.alloc(3 * 65_536, hex('fe0100'))]);
    const lz4 = lz4Of(Buffer.concat([hex('1f 00 0100'), Buffer.alloc(16_500, 0xff), hex('00 00')]));
    const bombs: [number, Buffer][] = [
      [codec.none, zeros],
      [codec.gzip, gzipSync(zeros)],
      [codec.zstd, zstdCompressSync(zeros)],
      [codec.snappy, snappy],
      [codec.lz4, lz4],
    ];
    for (const [type, bytes] of bombs) {
      expect(() => expand(type, bytes, 1_000_000), `codec ${type}`).toThrow(
        expect.objectContaining({ code: 'EXPANSION_LIMIT' }),
      );
    }
    for (const [type, bytes] of bombs.slice(0, 3)) expect(expand(type, bytes, zeros.length).equals(zeros)).toBe(true);
    expect(expand(codec.lz4, lz4, 5 * MEGABYTE).length).toBe(1 + 4 + 15 + 16_500 * 255);
  });

  it('allocates by what comes out, not by what a length states', () => {
    // Two gigabytes are stated, three bytes are there.
    const before = process.memoryUsage().arrayBuffers;
    expect(() => expand(codec.snappy, hex('ffffffff07 08 616263'), 1024 * MEGABYTE)).toThrow(RangeError);
    const stated = hex('04224d18 6840 ffffffffffffff7f 82 00000000');
    expect(expand(codec.lz4, stated, 1024 * MEGABYTE).length).toBe(0);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MEGABYTE);
  });

  it('either expands any bytes within the limit or throws one of its two errors', () => {
    const seeds = [hex('0a 08 616263 0d 03'), snappyOf(hex('03 08 616263')), lz4Of(hex('33 616263 0300 10 64'))];
    const change = fc.record({ at: fc.nat(60), byte: fc.nat(255) });
    const bytes = fc
      .tuple(fc.constantFrom(...seeds), fc.array(change, { maxLength: 5 }), fc.uint8Array({ maxLength: 40 }))
      .map(([seed, changes, tail]) => {
        const mutated = Buffer.concat([seed, tail]);
        for (const { at, byte } of changes) mutated[at % mutated.length] = byte;
        return mutated;
      });
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 4 }), (input, type) => {
        try {
          expect(expand(type, input, 10_000).length).toBeLessThanOrEqual(10_000);
        } catch (error) {
          expect(error instanceof RangeError || (error as { code?: string }).code === 'EXPANSION_LIMIT').toBe(true);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
