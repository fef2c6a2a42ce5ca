import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type OutgoingRecord, splitSends } from '../../cdc-reader/kafka/split-sends.ts';

const record = (topic: string, partition: number, bytes: number, key = 'k'): OutgoingRecord => ({
  topic,
  partition,
  key,
  value: Buffer.alloc(bytes),
});
const wide = { partitionRecords: 1_000_000, partitionBytes: 1e12, sendBytes: 1e12 };
const messagesOf = (sends: ReturnType<typeof splitSends>) =>
  sends.map(({ topicMessages }) => topicMessages.flatMap(({ messages }) => messages));

describe('splitting the records of a transaction into sends', () => {
  it('makes no send of nothing', () => {
    expect(splitSends([], wide)).toEqual([]);
  });

  it('puts all topics into one send and says what its answer must confirm', () => {
    const records = [
      record('orders', 0, 10),
      record('orders', 5, 10),
      record('checkpoints', 0, 10),
      record('orders', 0, 10),
    ];
    const sends = splitSends(records, wide);
    expect(sends).toHaveLength(1);
    expect(sends[0]!.topicMessages.map(({ topic, messages }) => [topic, messages.length])).toEqual([
      ['orders', 3],
      ['checkpoints', 1],
    ]);
    expect(sends[0]!.parts).toEqual([
      { topic: 'orders', partition: 0, records: 2 },
      { topic: 'orders', partition: 5, records: 1 },
      { topic: 'checkpoints', partition: 0, records: 1 },
    ]);
  });

  it('begins another send when a partition has its number of records, not when another has', () => {
    const records = [0, 1, 0, 1, 0].map((partition) => record('orders', partition, 10));
    expect(messagesOf(splitSends(records, { ...wide, partitionRecords: 2 })).map(({ length }) => length)).toEqual([
      4, 1,
    ]);
  });

  it('begins another send when a batch would be larger than Kafka takes', () => {
    const records = [record('orders', 0, 500), record('orders', 0, 400), record('orders', 0, 100)];
    const sends = messagesOf(splitSends(records, { ...wide, partitionBytes: 1_000 }));
    expect(sends.map(({ length }) => length)).toEqual([2, 1]);
  });

  it('counts keys and headers, in bytes', () => {
    const large = { ...record('orders', 0, 0, 'ü'.repeat(300)), headers: { ['n'.repeat(200)]: 'ü'.repeat(100) } };
    expect(splitSends([large], wide)[0]!.largestRecordBytes).toBeGreaterThanOrEqual(1_000);
    expect(splitSends([large, large], { ...wide, partitionBytes: 1_999 })).toHaveLength(2);
  });

  it('sends a record that is larger than every bound alone', () => {
    const records = [record('orders', 0, 10), record('orders', 0, 5_000), record('orders', 0, 10)];
    const bounds = { partitionRecords: 10, partitionBytes: 1_000, sendBytes: 1_000 };
    expect(messagesOf(splitSends(records, bounds)).map(({ length }) => length)).toEqual([1, 1, 1]);
  });

  it('keeps every record once, in order, within the bounds', () => {
    const anyRecord = fc.record({ topic: fc.constantFrom('a', 'b'), partition: fc.nat(3), bytes: fc.nat(300) });
    const anyBounds = fc.record({
      partitionRecords: fc.integer({ min: 1, max: 9 }),
      partitionBytes: fc.integer({ min: 1, max: 900 }),
      sendBytes: fc.integer({ min: 1, max: 1_500 }),
    });
    fc.assert(
      fc.property(fc.array(anyRecord, { maxLength: 60 }), anyBounds, (shapes, bounds) => {
        const records = shapes.map(({ topic, partition, bytes }) => record(topic, partition, bytes));
        const sends = splitSends(records, bounds);
        const byPart = (list: readonly OutgoingRecord[]) =>
          Map.groupBy(list, ({ topic, partition }) => `${topic}${partition}`);
        const kept = byPart(messagesOf(sends).flat());
        expect(new Set(kept.keys())).toEqual(new Set(byPart(records).keys()));
        for (const [part, expected] of byPart(records)) {
          expect(kept.get(part)!.every((message, index) => message === expected[index])).toBe(true);
          expect(kept.get(part)).toHaveLength(expected.length);
        }
        for (const send of sends) {
          const size = messagesOf([send])[0]!.length;
          expect(size).toBeGreaterThan(0);
          expect(send.parts.reduce((sum, { records: count }) => sum + count, 0)).toBe(size);
          for (const { records: count } of send.parts) expect(count).toBeLessThanOrEqual(bounds.partitionRecords);
          const bytes = messagesOf([send])[0]!.reduce((sum, { value }) => sum + value.length, 0);
          if (size > 1) expect(bytes).toBeLessThanOrEqual(bounds.sendBytes);
        }
      }),
    );
  });
});
