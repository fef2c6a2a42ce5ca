import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitSends } from '#kafka/producer/split-sends.ts';
import type { OutgoingRecord } from '#kafka/protocol/record.ts';

const record = (topic: string, partition: number, bytes: number, key = 'k'): OutgoingRecord => ({
  topic,
  partition,
  key,
  value: Buffer.alloc(bytes),
});
const wide = { partitionBytes: 1e12, sendBytes: 1e12 };
const sizes = (sends: ReturnType<typeof splitSends>) =>
  sends.map(({ batches }) => batches.reduce((sum, { records }) => sum + records.length, 0));

describe('splitting the records of a transaction into sends', () => {
  it('makes no send of nothing', () => {
    expect(splitSends([], wide)).toEqual([]);
  });

  it('puts the batches of all topics into one send', () => {
    const records = [
      record('orders', 0, 10),
      record('orders', 5, 10),
      record('checkpoints', 0, 10),
      record('orders', 0, 20),
    ];
    const sends = splitSends(records, wide);
    expect(sends).toHaveLength(1);
    expect(sends[0]!.batches).toMatchObject([
      { topic: 'orders', partition: 0, records: [records[0], records[3]] },
      { topic: 'orders', partition: 5, records: [records[1]] },
      { topic: 'checkpoints', partition: 0, records: [records[2]] },
    ]);
  });

  it('begins another send when a batch would be larger than Kafka takes, not when two together would', () => {
    const records = [
      record('orders', 0, 500),
      record('orders', 1, 900),
      record('orders', 0, 400),
      record('orders', 0, 100),
    ];
    expect(sizes(splitSends(records, { ...wide, partitionBytes: 1_000 }))).toEqual([3, 1]);
  });

  it('begins another send when the whole would be too large', () => {
    const records = [0, 1, 2].map((partition) => record('orders', partition, 400));
    expect(sizes(splitSends(records, { ...wide, sendBytes: 1_000 }))).toEqual([2, 1]);
  });

  it('counts keys and headers, in bytes', () => {
    const large = { ...record('orders', 0, 0, 'ü'.repeat(300)), headers: { ['n'.repeat(200)]: 'ü'.repeat(100) } };
    expect(splitSends([large], wide)[0]!.largestRecordBytes).toBeGreaterThanOrEqual(1_000);
    expect(splitSends([large, large], { ...wide, partitionBytes: 1_999 })).toHaveLength(2);
  });

  it('sends a record that is larger than every bound alone', () => {
    const records = [record('orders', 0, 10), record('orders', 0, 5_000), record('orders', 0, 10)];
    expect(sizes(splitSends(records, { partitionBytes: 1_000, sendBytes: 1_000 }))).toEqual([1, 1, 1]);
  });

  it('keeps every record once, in order, within the bounds', () => {
    const anyRecord = fc.record({ topic: fc.constantFrom('a', 'b'), partition: fc.nat(3), bytes: fc.nat(300) });
    const anyBounds = fc.record({
      partitionBytes: fc.integer({ min: 1, max: 900 }),
      sendBytes: fc.integer({ min: 1, max: 1_500 }),
    });
    fc.assert(
      fc.property(fc.array(anyRecord, { maxLength: 60 }), anyBounds, (shapes, bounds) => {
        const records = shapes.map(({ topic, partition, bytes }) => record(topic, partition, bytes));
        const sends = splitSends(records, bounds);
        const byPart = (list: readonly OutgoingRecord[]) =>
          Map.groupBy(list, ({ topic, partition }) => `${topic}${partition}`);
        const kept = byPart(sends.flatMap(({ batches }) => batches.flatMap((batch) => batch.records)));
        expect(new Set(kept.keys())).toEqual(new Set(byPart(records).keys()));
        for (const [part, expected] of byPart(records)) {
          expect(kept.get(part)!.every((kept, index) => kept === expected[index])).toBe(true);
          expect(kept.get(part)).toHaveLength(expected.length);
        }
        for (const { batches } of sends) {
          const bytesOf = (list: readonly OutgoingRecord[]) => list.reduce((sum, { value }) => sum + value.length, 0);
          const all = batches.flatMap((batch) => batch.records);
          expect(all.length).toBeGreaterThan(0);
          if (all.length === 1) continue;
          expect(bytesOf(all)).toBeLessThanOrEqual(bounds.sendBytes);
          for (const batch of batches) {
            if (batch.records.length > 1) expect(bytesOf(batch.records)).toBeLessThanOrEqual(bounds.partitionBytes);
          }
        }
      }),
    );
  });
});
