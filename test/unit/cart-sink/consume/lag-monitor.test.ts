import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { HaltError } from '#service/halt.ts';
import { createLogger } from '#service/logger.ts';
import {
  createLagMonitor,
  type LagMonitor,
  type LagMonitorOptions,
} from '../../../../cart-sink/consume/lag-monitor.ts';
import { SinkDefectError } from '../../../../cart-sink/errors.ts';

const everyMs = 1_000;
const logger = createLogger('test', 'silent');

describe('the lag monitor', () => {
  let monitor: LagMonitor;
  let position: bigint;
  let range: { earliest: bigint; lastStable: bigint; highWatermark: bigint };
  let stored: { topic: string; partition: number; next_offset: bigint }[];
  let isIdle: boolean;
  let halted: HaltError | undefined;
  let found: string[];
  let kafkaIsAway: boolean;
  let topicId: string | null;
  let cartsAreSilent: boolean;
  let nowMs: number;

  beforeEach(() => {
    vi.useFakeTimers();
    position = 5n;
    range = { earliest: 0n, lastStable: 9n, highWatermark: 9n };
    stored = [{ topic: 'live', partition: 0, next_offset: 5n }];
    isIdle = true;
    halted = undefined;
    found = [];
    kafkaIsAway = false;
    topicId = 'one';
    cartsAreSilent = false;
    nowMs = 4_000;
    const partition: ReturnType<LagMonitorOptions['partitions']>[number] = {
      ownership: { topic: 'live', partition: 0, ownerEpoch: 1n, nextOffset: 5n, lastCommitLsn: '0/10', topicId: 'one' },
      position: () => position,
      isIdle: () => isIdle,
      halted: () => halted,
      lastCommittedAt: () => 1_000_000n,
    };
    monitor = createLagMonitor({
      everyMs,
      partitions: () => [partition],
      readRanges: async () => {
        if (kafkaIsAway) throw new Error('Kafka is away');
        return new Map([[0, range]]);
      },
      readTopicId: async () => topicId,
      readNextOffsets: () => (cartsAreSilent ? new Promise(() => undefined) : Promise.resolve(stored)),
      onMeasured: async () => undefined,
      onDiverged: ({ topic, partition }) => found.push(`${topic}[${partition}]`),
      now: () => nowMs,
      logger,
    });
  });
  afterEach(() => {
    monitor.close();
    vi.useRealTimers();
  });

  const look = () => vi.advanceTimersByTimeAsync(everyMs);

  it('measures the lag in records and seconds, and finds nothing wrong', async () => {
    await look();
    await look();
    expect(monitor.current()).toMatchObject([{ nextOffset: 5n, records: 4n, behindSinceMs: undefined, seconds: 3 }]);
    expect(found).toEqual([]);
  });

  it('counts the seconds from when the oldest pending record came, however long nothing had come before', async () => {
    range.lastStable = 5n;
    await look();
    expect(monitor.current()).toMatchObject([{ records: 0n, behindSinceMs: undefined, seconds: 0 }]);
    nowMs = 3_600_000;
    range.lastStable = 9n;
    await look();
    expect(monitor.current()).toMatchObject([{ records: 4n, behindSinceMs: 3_600_000, seconds: 0 }]);
    nowMs += 2_500;
    await look();
    expect(monitor.current()).toMatchObject([{ records: 4n, behindSinceMs: 3_600_000, seconds: 2.5 }]);
  });

  it('finds an end before what was applied, when it lasts for two looks', async () => {
    range = { earliest: 0n, lastStable: 2n, highWatermark: 2n };
    await look();
    expect(found).toEqual([]);
    await look();
    expect(found).toEqual(['live[0]']);
  });

  it('finds another topic under the name, however much it holds and however far the sink moves on in it', async () => {
    topicId = 'two';
    await look();
    expect(found).toEqual([]);
    position += 1n;
    stored = [{ topic: 'live', partition: 0, next_offset: 6n }];
    await look();
    expect(found).toEqual(['live[0]']);
  });

  it('finds nothing in an id that one broker had not forgotten yet, or that no broker has', async () => {
    topicId = 'two';
    await look();
    topicId = 'one';
    await look();
    topicId = null;
    await look();
    await look();
    expect(found).toEqual([]);
  });

  it('finds no gap in two ends that were each seen once', async () => {
    range = { earliest: 0n, lastStable: 2n, highWatermark: 2n };
    await look();
    range = { earliest: 0n, lastStable: 9n, highWatermark: 9n };
    await look();
    range = { earliest: 0n, lastStable: 2n, highWatermark: 2n };
    await look();
    expect(found).toEqual([]);
  });

  it('finds records that were deleted before they were applied, although none comes any more', async () => {
    range = { earliest: 9n, lastStable: 9n, highWatermark: 9n };
    await look();
    await look();
    expect(found).toEqual(['live[0]']);
  });

  it('takes no record for lost that may have been fetched before it was deleted', async () => {
    range = { earliest: 9n, lastStable: 9n, highWatermark: 9n };
    isIdle = false;
    await look();
    await look();
    // What was fetched is applied: another position, so another two looks.
    isIdle = true;
    await look();
    position = 9n;
    stored[0]!.next_offset = 9n;
    await look();
    await look();
    expect(found).toEqual([]);
  });

  it.each([
    { name: 'an older offset', next: [4n] },
    { name: 'no offset at all', next: [] },
  ])('finds a carts database that holds $name', async ({ next }) => {
    stored = next.map((offset) => ({ topic: 'live', partition: 0, next_offset: offset }));
    await look();
    expect(found).toEqual(['live[0]']);
  });

  it('finds such a database while Kafka is away', async () => {
    stored = [];
    kafkaIsAway = true;
    await look();
    expect(found).toEqual(['live[0]']);
  });

  it('goes on looking at Kafka while the carts database is silent, and ends at once', async () => {
    cartsAreSilent = true;
    range = { earliest: 9n, lastStable: 9n, highWatermark: 9n };
    await look();
    await look();
    expect(found).toEqual(['live[0]']);
    monitor.close();
    await look();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('finds a halted partition that an operator has moved on, and none that stands', async () => {
    halted = new SinkDefectError({ topic: 'live', partition: 0, offset: 5n }, new Error('x'));
    await look();
    expect(found).toEqual([]);
    stored[0]!.next_offset = 6n;
    await look();
    expect(found).toEqual(['live[0]']);
  });

  it('finds nothing in a database that is further: the answer to a COMMIT may be on its way', async () => {
    stored[0]!.next_offset = 8n;
    await look();
    expect(found).toEqual([]);
  });
});
