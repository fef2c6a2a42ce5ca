import { createRequire } from 'node:module';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { murmur2, orderPartition } from '#schemas/partition.ts';

const libraryMurmur2 = createRequire(import.meta.url)('kafkajs/src/producer/partitioners/default/murmur2') as (
  key: string | Buffer,
) => number;

describe('the partition of a user', () => {
  it("hashes like Kafka's own murmur2 (the vectors of its UtilsTest)", () => {
    const vectors: [string, number][] = [
      ['21', -973932308],
      ['foobar', -790332482],
      ['a-little-bit-long-string', -985981536],
      ['a-little-bit-longer-string', -1486304829],
      ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
      ['abc', 479470107],
    ];
    for (const [text, hash] of vectors) expect(murmur2(Buffer.from(text)), text).toBe(hash);
  });

  it('hashes all bytes as kafkajs does', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        expect(murmur2(Buffer.from(bytes))).toBe(libraryMurmur2(Buffer.from(bytes)));
      }),
      { numRuns: 500 },
    );
  });

  it('takes the positive part of the hash modulo the number of partitions', () => {
    // -973932308 & 0x7fffffff = 1173551340; 479470107 is positive already.
    expect(orderPartition('21', 6)).toBe(1173551340 % 6);
    expect(orderPartition('abc', 7)).toBe(479470107 % 7);
  });

  it('hashes the UTF-8 bytes of a user id, whatever is in it', () => {
    expect(orderPartition('Jürgen', 1_000_000)).toBe((libraryMurmur2('Jürgen') & 0x7fffffff) % 1_000_000);
  });

  it('spreads users over all partitions', () => {
    const counts = new Array<number>(6).fill(0);
    for (let user = 0; user < 6_000; user += 1) counts[orderPartition(`user-${user}`, 6)]! += 1;
    expect(Math.min(...counts)).toBeGreaterThan(850);
  });
});
