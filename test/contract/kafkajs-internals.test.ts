// The parts of kafkajs that are no public interface and that kafka/ is built on, and
// the faults that they work around: each would otherwise change with an upgrade unnoticed.

import { createRequire } from 'node:module';
import kafkajs from 'kafkajs';
import { afterEach, beforeEach, describe, expect, inject, it, vi } from 'vitest';

const require = createRequire(import.meta.url);
const load = (path: string) => require(`kafkajs/src/${path}`);
const silent = { logLevel: kafkajs.logLevel.NOTHING };
const quick = { retries: 2, initialRetryTime: 1 };

describe('the timers of kafkajs (trap 12, before our patch)', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('are armed by an answer although nothing waits, at once and again for ever', async () => {
    const RequestQueue = load('network/requestQueue');
    const queue = new RequestQueue({
      requestTimeout: 1_000,
      enforceRequestTimeout: true,
      maxInFlightRequests: null,
      clientId: 'test',
      broker: 'nowhere:1',
      logger: { debug() {}, warn() {} },
    });
    const check = vi.spyOn(queue, 'checkPendingRequests');
    const answer = new Promise((resolve, reject) => {
      const entry = { apiKey: 0, apiName: 'Test', apiVersion: 0, correlationId: 1, resolve, reject };
      queue.push({ entry, expectResponse: true, requestTimeout: null, sendRequest() {} });
    });
    queue.fulfillRequest({ correlationId: 1, payload: Buffer.alloc(0), size: 0 });
    await answer;
    vi.advanceTimersByTime(100);
    expect(check.mock.calls.length).toBeGreaterThan(50);
    queue.destroy();
  });
});

describe('the internals that we build on', () => {
  it('have the shape that we use', () => {
    const Cluster = load('cluster');
    const { createLogger } = load('loggers');
    const logger = createLogger({ level: 0, logCreator: () => () => undefined });
    const cluster = new Cluster({ logger, brokers: ['127.0.0.1:1'], clientId: 'test', retry: quick });
    const has = (object: object, names: string[]) => {
      for (const name of names) expect(object, name).toHaveProperty(name, expect.any(Function));
    };
    has(cluster, ['connect', 'disconnect']);
    has(cluster.brokerPool, ['findBroker', 'findConnectedBroker', 'createBroker', 'refreshMetadata']);
    has(cluster.brokerPool.connectionPoolBuilder, ['build']);
    has(load('broker').prototype, [
      'connect',
      'findGroupCoordinator',
      'listOffsets',
      'initProducerId',
      'addPartitionsToTxn',
      'endTxn',
    ]);
    has(load('network/connectionPool').prototype, ['send']);
    has(load('network/requestQueue').prototype, ['scheduleCheckPendingRequests', 'checkPendingRequests']);
    has(load('protocol/decoder').prototype, [
      'readInt16',
      'readInt32',
      'readInt64',
      'readString',
      'readBytes',
      'readArray',
      'forward',
    ]);
    expect(load('protocol/requests/fetch/v11/request')({ topics: [] })).toMatchObject({ apiKey: 1, apiVersion: 11 });
    expect(load('protocol/requests/produce/v7/response').decode).toBeInstanceOf(Function);
    expect(load('protocol/coordinatorTypes').TRANSACTION).toBe(1);
    expect(load('protocol/error').createErrorFromCode(51)).toMatchObject({
      type: 'CONCURRENT_TRANSACTIONS',
      retriable: true,
    });
    expect(load('protocol/error').createErrorFromCode(47)).toMatchObject({
      type: 'INVALID_PRODUCER_EPOCH',
      retriable: false,
    });
  });

  it('hide why a group has no coordinator, before our patch', async () => {
    const { prototype } = load('cluster/brokerPool');
    const refuse = async () => Promise.reject(new Error('refused'));
    const pool = { brokers: { 1: {} }, findBroker: async () => ({}) };
    expect(await prototype.withBroker.call(pool, refuse)).toBeNull();
  });

  it('ask for the metadata of every topic when no topic is named, which we therefore always do', async () => {
    const request = load('protocol/requests/metadata/v6/request')({ topics: [], allowAutoTopicCreation: false });
    // A null array means all topics, an empty one none.
    expect((await request.encode()).buffer.readInt32BE(0)).toBe(-1);
  });

  it('stop retrying for good when they find no broker in the list', async () => {
    let brokers = ['127.0.0.1:1'];
    const kafka = new kafkajs.Kafka({
      ...silent,
      brokers: async () => brokers,
      retry: { ...quick, retries: 1_000_000 },
    });
    const connecting = kafka.admin().connect();
    const ended = expect(connecting).rejects.toMatchObject({ retriable: false });
    brokers = [];
    await ended;
  });

  it('wait 300 ms before their first retry, unless told otherwise (trap 9)', () => {
    expect(load('retry/defaults')).toMatchObject({ initialRetryTime: 300, retries: 5 });
  });

  it('never create topics by themselves where we switch that off, and would otherwise (trap 15)', async () => {
    const asked: boolean[] = [];
    const Broker = load('broker');
    const metadata = vi.spyOn(Broker.prototype, 'metadata').mockImplementation(async function (this: {
      allowAutoTopicCreation: boolean;
    }) {
      asked.push(this.allowAutoTopicCreation);
      throw load('protocol/error').createErrorFromCode(3);
    });
    const kafka = new kafkajs.Kafka({ ...silent, brokers: inject('servers').brokers.split(','), retry: quick });
    for (const options of [{}, { allowAutoTopicCreation: false }]) {
      const producer = kafka.producer(options);
      await producer.connect();
      await expect(producer.send({ topic: 'nowhere', messages: [{ value: 'v' }] })).rejects.toThrow();
      await producer.disconnect();
    }
    metadata.mockRestore();
    expect(new Set(asked.slice(0, 1))).toEqual(new Set([true]));
    expect(asked.at(-1)).toBe(false);
  });
});
