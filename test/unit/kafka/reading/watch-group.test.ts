import { EventEmitter } from 'node:events';
import type { Consumer } from 'kafkajs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { watchGroup } from '../../../../kafka/reading/watch-group.ts';

const events = { GROUP_JOIN: 'join', HEARTBEAT: 'heartbeat', FETCH: 'fetch', REBALANCING: 'rebalancing' };
const heartbeatIntervalMs = 3_000;
let group: EventEmitter;
let failures: string[];

beforeEach(() => {
  vi.useFakeTimers();
  group = new EventEmitter();
  failures = [];
  const consumer = { events, on: group.on.bind(group) } as unknown as Consumer;
  watchGroup(
    consumer,
    { rebalanceTimeoutMs: 20_000, heartbeatIntervalMs },
    ({ message }) => failures.push(message),
    Date.now,
  );
});
afterEach(() => {
  vi.clearAllTimers();
  vi.useRealTimers();
});

const beat = (times: number) => {
  for (let beats = 0; beats < times; beats += 1) {
    vi.advanceTimersByTime(heartbeatIntervalMs);
    group.emit('heartbeat');
  }
};

it('is content with heartbeats, and with a rebalance that ends with an assignment', () => {
  beat(40);
  group.emit('rebalancing');
  vi.advanceTimersByTime(15_000);
  group.emit('join');
  beat(40);
  expect(failures).toEqual([]);
});

it('fails where heartbeats go on after a rebalance without an assignment: nothing would be fetched any more', () => {
  group.emit('join');
  group.emit('rebalancing');
  beat(1);
  expect(failures).toEqual(['The Kafka consumer went on without joining its group again']);
});

it('allows the heartbeat that was on its way when the rebalance began', () => {
  group.emit('rebalancing');
  vi.advanceTimersByTime(10);
  group.emit('heartbeat');
  expect(failures).toEqual([]);
});

it('fails where nothing is heard for longer than a rebalance and a request take', () => {
  beat(1);
  vi.advanceTimersByTime(79_000);
  expect(failures).toEqual([]);
  vi.advanceTimersByTime(2_000);
  expect(failures).toContain('The Kafka consumer has shown no activity for 80000 ms');
});
