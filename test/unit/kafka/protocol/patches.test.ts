import { createRequire } from 'node:module';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type FetchedPartition, hideAbortedMessages, installKafkajsPatches } from '#kafka/protocol/patches.ts';

const message = (offset: number, producer: number, options: { key?: string; inTransaction?: boolean } = {}) => ({
  offset: String(offset),
  key: Buffer.from(options.key ?? 'k'),
  isControlRecord: false,
  batchContext: { producerId: String(producer), inTransaction: options.inTransaction ?? true },
});
const marker = (offset: number, producer: number, type: 'abort' | 'commit') => ({
  ...message(offset, producer, { key: `\0\0\0${type === 'abort' ? '\0' : '\x01'}` }),
  isControlRecord: true,
});
const aborted = (producer: number, firstOffset: number) => ({
  producerId: String(producer),
  firstOffset: String(firstOffset),
});
/** The offsets that kafkajs hands over. */
const visible = (partition: FetchedPartition): number[] => {
  hideAbortedMessages(partition);
  expect(partition.abortedTransactions ?? []).toEqual([]);
  return partition.messages.filter(({ isControlRecord }) => !isControlRecord).map(({ offset }) => Number(offset));
};

describe('of a fetch, kafkajs is shown', () => {
  it.each<{ name: string; partition: FetchedPartition; offsets: number[] }>([
    {
      name: 'everything where nothing was aborted',
      partition: { abortedTransactions: [], messages: [message(0, 1), marker(1, 1, 'commit')] },
      offsets: [0],
    },
    {
      name: 'everything where the answer has no list',
      partition: { abortedTransactions: null, messages: [message(0, 1)] },
      offsets: [0],
    },
    {
      name: 'nothing of transactions that overlap, listed by their ends',
      partition: {
        abortedTransactions: [aborted(2, 1), aborted(1, 0)],
        messages: [message(0, 1), message(1, 2), marker(2, 2, 'abort'), message(3, 1), marker(4, 1, 'abort')],
      },
      offsets: [],
    },
    {
      name: 'nothing of transactions that all began before the fetch',
      partition: {
        abortedTransactions: [aborted(2, 1), aborted(3, 2), aborted(1, 0)],
        messages: [
          message(9, 1),
          marker(10, 2, 'abort'),
          message(11, 3),
          marker(12, 3, 'abort'),
          marker(13, 1, 'abort'),
        ],
      },
      offsets: [],
    },
    {
      name: 'what the same producer committed before and after, compared as numbers',
      partition: {
        abortedTransactions: [aborted(1, 100)],
        messages: [message(99, 1), message(100, 1), marker(101, 1, 'abort'), message(102, 1), marker(103, 1, 'commit')],
      },
      offsets: [99, 102],
    },
    {
      name: 'what others wrote meanwhile, in transactions or not',
      partition: {
        abortedTransactions: [aborted(1, 0)],
        messages: [message(0, 1), message(1, 2), message(2, -1, { inTransaction: false }), marker(3, 1, 'abort')],
      },
      offsets: [1, 2],
    },
    {
      name: 'nothing behind an aborted record whose key looks like a marker',
      partition: {
        abortedTransactions: [aborted(1, 0)],
        messages: [message(0, 1, { key: '\0\0\0\0' }), message(1, 1), marker(2, 1, 'abort')],
      },
      offsets: [],
    },
  ])('$name', ({ partition, offsets }) => {
    expect(visible(partition)).toEqual(offsets);
  });
});

interface Queue {
  push(request: object): void;
  fulfillRequest(answer: object): void;
  maybeThrottle(ms: number): void;
  scheduleRequestTimeoutCheck(): void;
  destroy(): void;
  checkPendingRequests(): void;
}

const QueueClass = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as new (options: object) => Queue;
const requestTimeoutMs = 1_000;

installKafkajsPatches();

describe("kafkajs's request queue as we patch it", () => {
  let queue: Queue;
  let connected: boolean;

  beforeEach(() => {
    vi.useFakeTimers();
    connected = true;
    queue = new QueueClass({
      requestTimeout: requestTimeoutMs,
      enforceRequestTimeout: true,
      maxInFlightRequests: null,
      clientId: 'test',
      broker: 'nowhere:1',
      logger: { debug() {}, warn() {} },
      isConnected: () => connected,
    });
  });

  afterEach(() => {
    queue.destroy();
    vi.useRealTimers();
  });

  const request = (correlationId: number) => {
    const sent = vi.fn();
    const answer = new Promise((resolve, reject) => {
      const entry = { apiKey: 0, apiName: 'Test', apiVersion: 0, correlationId, resolve, reject };
      queue.push({ entry, expectResponse: true, requestTimeout: null, sendRequest: sent });
    });
    return { sent, answer };
  };

  it('arms no timer when an answer has come and nothing waits', async () => {
    const { answer } = request(1);
    queue.fulfillRequest({ correlationId: 1, payload: Buffer.alloc(0), size: 0 });
    await answer;
    expect(vi.getTimerCount()).toBe(0);
  });

  it('arms only the request timeout check on an idle connection', () => {
    queue.scheduleRequestTimeoutCheck();
    vi.advanceTimersByTime(5_000);
    expect(vi.getTimerCount()).toBe(1);
  });

  it('still sends requests held back by a throttling broker when the throttle ends', async () => {
    queue.maybeThrottle(500);
    const { sent, answer } = request(1);
    expect(sent).not.toHaveBeenCalled();
    vi.advanceTimersByTime(499);
    expect(sent).not.toHaveBeenCalled();
    vi.advanceTimersByTime(2);
    expect(sent).toHaveBeenCalledOnce();
    queue.fulfillRequest({ correlationId: 1, payload: Buffer.alloc(0), size: 0 });
    await answer;
    expect(vi.getTimerCount()).toBe(0);
  });

  it('looks once at the end of a throttle, not all the time', () => {
    const look = vi.spyOn(queue, 'checkPendingRequests');
    queue.maybeThrottle(500);
    request(1);
    vi.advanceTimersByTime(501);
    expect(look.mock.calls.length).toBeLessThanOrEqual(2);
  });

  it('waits again when the throttle was made longer meanwhile', () => {
    queue.maybeThrottle(500);
    const { sent } = request(1);
    vi.advanceTimersByTime(400);
    queue.maybeThrottle(500);
    vi.advanceTimersByTime(200);
    expect(sent).not.toHaveBeenCalled();
    vi.advanceTimersByTime(301);
    expect(sent).toHaveBeenCalledOnce();
  });

  it('still times out a request whose answer never comes', async () => {
    queue.scheduleRequestTimeoutCheck();
    const { answer } = request(1);
    const rejected = expect(answer).rejects.toMatchObject({ name: 'KafkaJSRequestTimeoutError' });
    vi.advanceTimersByTime(requestTimeoutMs + 200);
    await rejected;
  });

  it('ends its timeout check when the connection is gone', () => {
    queue.scheduleRequestTimeoutCheck();
    connected = false;
    vi.advanceTimersByTime(200);
    expect(vi.getTimerCount()).toBe(0);
  });
});
