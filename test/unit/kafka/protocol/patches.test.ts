import { createRequire } from 'node:module';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { installKafkajsPatches } from '#kafka/protocol/patches.ts';

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

describe("kafkajs's search for a coordinator as we patch it", () => {
  const { prototype } = createRequire(import.meta.url)('kafkajs/src/cluster/brokerPool') as {
    prototype: { withBroker(callback: () => Promise<unknown>): Promise<unknown> };
  };
  const search = (...answers: unknown[]) => {
    const pool = { brokers: { 1: {}, 2: {} }, findBroker: async () => ({}) };
    return prototype.withBroker.call(pool, async () => {
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    });
  };
  const refused = Object.assign(new Error('refused'), { type: 'GROUP_AUTHORIZATION_FAILED', code: 30 });

  it('names a missing grant, which every broker answers', async () => {
    await expect(search(refused, refused)).rejects.toBe(refused);
    await expect(search(new Error('away'), refused)).rejects.toBe(refused);
  });

  it('asks the next broker after every failure, and is silent about those that may end', async () => {
    expect(await search(refused, 'found')).toBe('found');
    expect(await search(new Error('away'), new Error('away'))).toBeNull();
  });
});
