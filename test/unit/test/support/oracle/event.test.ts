import { expect, test } from 'vitest';
import { partitionOf } from '../../../../support/oracle/event.ts';

test('the murmur2 of the oracle gives the partitions of the Java client', () => {
  // From Apache Kafka's own UtilsTest.testMurmur2, as positive numbers modulo a million.
  const known: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ];
  for (const [text, hash] of known) expect(partitionOf(text, 1_000_000)).toBe((hash & 0x7fffffff) % 1_000_000);
});
