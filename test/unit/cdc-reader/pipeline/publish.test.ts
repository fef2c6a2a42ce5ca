// Publishing against a Kafka that only takes notes: what goes into one Kafka transaction, what its checkpoint says, and
// what is refused before the commit.

import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { addOrderId, type Checkpoint, hashOrderIds, parseCheckpoint } from '#schemas/checkpoint.ts';
import { decodeOrderPlaced } from '#schemas/codec.ts';
import { toLsn } from '#schemas/lsn.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { type CdcReaderConfig, readCdcReaderConfig } from '../../../../cdc-reader/config.ts';
import { createReaderMetrics } from '../../../../cdc-reader/metrics.ts';
import {
  type CommittedTransaction,
  createTransactionAssembler,
} from '../../../../cdc-reader/pipeline/assemble-transaction.ts';
import type { CaptureCheck } from '../../../../cdc-reader/pipeline/capture-check.ts';
import { prepareTransaction } from '../../../../cdc-reader/pipeline/intake.ts';
import { Publisher } from '../../../../cdc-reader/pipeline/publish.ts';
import { Queue } from '../../../../cdc-reader/pipeline/queue.ts';
import { exampleCapture, exampleCaptured, exampleOids } from '../../../support/examples/capture.ts';
import { exampleCheckpoint } from '../../../support/examples/checkpoint.ts';
import { insertOf } from '../../../support/examples/decode-tuple.ts';
import {
  itemsRelation,
  itemTuple,
  ordersRelation,
  orderTuple,
  uuid,
} from '../../../support/examples/pgoutput-messages.ts';
import { createRecordingKafka } from '../../../support/kafka/recording-kafka.ts';
import { waitFor } from '../../../support/wait.ts';

const checkpoint = exampleCheckpoint();

function configure(more: Record<string, string> = {}): CdcReaderConfig {
  return readCdcReaderConfig({ ORDER_DATABASE_URL: 'postgres://u:p@localhost/shop', ...more });
}

/** One database transaction of `count` orders of one item each. */
function transactionOf(count: number): CommittedTransaction {
  const assembler = createTransactionAssembler({
    spillBytes: 1e9,
    spillDirectory: '/tmp',
    captured: exampleCaptured,
    onIgnored: () => {},
  });
  assembler.accept(ordersRelation);
  assembler.accept(itemsRelation);
  assembler.accept({ kind: 'begin', commitLsn: toLsn(100n), committedAt: 5n, xid: 7 });
  for (let n = 0; n < count; n++) {
    const row = [uuid(n), `user-${n % 7}`, 'placed', 'cart', 'USD', '5', '2026-11-20 10:00:00+00'];
    assembler.accept(insertOf(exampleOids.orders, orderTuple(row)));
    assembler.accept(insertOf(exampleOids.order_items, itemTuple([uuid(n), '1', 'tea', '1', '5', null])));
  }
  return assembler.accept({ kind: 'commit', commitLsn: toLsn(100n), endLsn: toLsn(120n), committedAt: 5n })!;
}

function createStage(
  more: Record<string, string> = {},
  start: Partial<Checkpoint> = {},
  kafka = createRecordingKafka(),
  clock: {
    nowMs?: () => number;
    onPublished?: (checkpoint: Checkpoint) => void;
    captureCheck?: CaptureCheck;
  } = {},
) {
  const config = configure(more);
  const record = (value: Buffer) => ({ topic: config.checkpointTopic, partition: 0, key: 'tillstream', value });
  const publisher = new Publisher({
    config,
    session: {
      producer: kafka.producer,
      checkpointTopic: { record, read: async () => ({ record: null, offset: null }) },
      checkpoint: { ...checkpoint, ...start },
      nextOffsets: checkpoint.nextOffsets,
    },
    metrics: createReaderMetrics(createMetrics('test')),
    logger: createLogger('test', 'silent'),
    captureCheck: { run: async () => undefined, accepted: exampleCapture() },
    ...clock,
  });
  const prepare = (transaction: CommittedTransaction, fromOrdinal = 0) =>
    prepareTransaction(
      transaction,
      { topic: config.ordersTopic, partitions: 3, generation: 1, timeline: 1 },
      fromOrdinal,
      config,
    );
  const publish = (transaction: CommittedTransaction, fromOrdinal = 0) => {
    const queue = new Queue({ maxOrders: config.groupMaxOrders, maxBytes: config.groupMaxBytes });
    queue.add(prepare(transaction, fromOrdinal));
    return publisher.publishGroup(queue.take()!);
  };
  const ordinals = () =>
    kafka.committed.map((records) =>
      records.filter(({ topic }) => topic === config.ordersTopic).map(({ value }) => decodeOrderPlaced(value).ordinal),
    );
  const checkpoints = () =>
    kafka.committed.map((records) => {
      const [own, ...others] = records.filter(({ topic }) => topic === config.checkpointTopic);
      expect(others).toEqual([]);
      return parseCheckpoint(own!.value);
    });
  return { config, kafka, publisher, publish, ordinals, checkpoints };
}

function hashOf(ns: readonly number[]): string {
  const hash = hashOrderIds();
  for (const n of ns) addOrderId(hash, uuid(n));
  return hash.digest('hex');
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

describe('publishing', () => {
  it('commits nothing before a check of the captured tables that began with it, and nothing if that finds a change', async () => {
    const checks: PromiseWithResolvers<void>[] = [];
    const run = (): Promise<void> => {
      checks.push(Promise.withResolvers());
      return checks.at(-1)!.promise;
    };
    const captureCheck = { run, accepted: exampleCapture() };
    const stage = createStage({}, {}, createRecordingKafka(), { captureCheck });
    const published = stage.publish(transactionOf(5));
    await turn();
    expect(stage.kafka.committed).toEqual([]);
    checks[0]!.resolve();
    await published;
    expect(stage.ordinals()).toEqual([range(0, 5)]);
    const refused = stage.publish(transactionOf(5));
    checks[1]!.reject(new Error('changed'));
    await expect(refused).rejects.toThrow('changed');
    expect(stage.kafka.committed).toHaveLength(1);
  });

  it('puts a group and the one checkpoint that covers it into one Kafka transaction', async () => {
    const stage = createStage();
    await stage.publish(transactionOf(5));
    expect(stage.ordinals()).toEqual([range(0, 5)]);
    const [written] = stage.checkpoints();
    expect(written).toMatchObject({ throughLsn: 120n, partial: null, lastPublished: { commitLsn: 100n, ordinal: 4 } });
    expect(stage.publisher.checkpoint).toEqual(written);
  });

  it.each([
    ['in one piece', {}],
    ['in several', { GROUP_MAX_ORDERS: '10' }],
  ])('records where each partition ends with the events of its own transaction, %s', async (_, settings) => {
    const stage = createStage(settings);
    await stage.publish(transactionOf(35));
    const own = (partition: number) =>
      stage.kafka.committed[0]!.filter((one) => one.topic === stage.config.ordersTopic && one.partition === partition);
    const [{ endOffsets, nextOffsets }] = stage.checkpoints() as [Checkpoint];
    expect(endOffsets).toEqual([0, 1, 2].map((partition) => BigInt(own(partition).length)));
    expect(nextOffsets).toEqual([0n, 0n, 0n]);
  });

  it('puts every order of a user into one partition', async () => {
    const stage = createStage();
    await stage.publish(transactionOf(50));
    const partitions = new Map<string, Set<number>>();
    for (const { key, partition, topic } of stage.kafka.committed[0]!) {
      if (topic === stage.config.ordersTopic) partitions.set(key, (partitions.get(key) ?? new Set()).add(partition));
    }
    expect([...partitions.values()].every((used) => used.size === 1)).toBe(true);
    expect(new Set([...partitions.values()].flatMap((used) => [...used])).size).toBeGreaterThan(1);
  });

  it('sends a huge transaction in pieces of one Kafka transaction', async () => {
    const stage = createStage({ GROUP_MAX_ORDERS: '10' });
    await stage.publish(transactionOf(35));
    expect(stage.ordinals()).toEqual([range(0, 35)]);
    expect(stage.checkpoints()[0]).toMatchObject({ throughLsn: 120n, partial: null });
  });

  it('commits with a partial checkpoint past half of the transaction timeout, and goes on from there after a crash', async () => {
    const kafka = createRecordingKafka({ slowSendMs: 300 });
    const times = { GROUP_MAX_ORDERS: '10', TRANSACTION_TIMEOUT_MS: '1000' };
    const stage = createStage(times, {}, kafka);
    await stage.publish(transactionOf(75));
    expect(stage.ordinals().flat()).toEqual(range(0, 75));
    const written = stage.checkpoints();
    expect(written.length).toBeGreaterThan(1);
    for (const [index, { throughLsn, partial, lastPublished }] of written.entries()) {
      const isLast = index === written.length - 1;
      expect(throughLsn).toBe(isLast ? 120n : 10n);
      expect(partial).toEqual(isLast ? null : { commitLsn: 100n, ordinal: lastPublished!.ordinal });
    }
    const after = written[0]!;
    const again = createStage(times, after);
    await again.publish(transactionOf(75), after.partial!.ordinal + 1);
    expect(again.ordinals().flat()).toEqual(range(after.partial!.ordinal + 1, 75));
    expect(again.checkpoints().at(-1)).toMatchObject({
      throughLsn: 120n,
      partial: null,
      lastPublished: written.at(-1)!.lastPublished!,
    });
  });

  it('halts when the transaction that was partly published is another one', async () => {
    const last = { commitLsn: toLsn(100n), ordinal: 3, orderId: uuid(3), ordersHash: 'another' };
    const stage = createStage({}, { partial: { commitLsn: toLsn(100n), ordinal: 3 }, lastPublished: last });
    await expect(stage.publish(transactionOf(9), 4)).rejects.toMatchObject({ code: 'CONTENTS_DIFFER' });
    expect(stage.kafka.committed).toEqual([]);
  });

  const partial = { commitLsn: toLsn(100n), ordinal: 3 };
  const partlyPublished = {
    partial,
    lastPublished: { ...partial, orderId: uuid(3), ordersHash: hashOf(range(0, 4)) },
  };

  it('keeps what is partly published in the checkpoints of idle progress, or it would be published again', async () => {
    const stage = createStage({}, partlyPublished);
    await stage.publisher.publishProgress(toLsn(100n));
    expect(stage.checkpoints()).toMatchObject([{ throughLsn: 100n, partial }]);
    await stage.publish(transactionOf(9), 4);
    expect(stage.ordinals()[1]).toEqual(range(4, 9));
    expect(stage.checkpoints()[1]).toMatchObject({ throughLsn: 120n, partial: null });
  });

  it('halts when the stream passes a partly published transaction without its rest', async () => {
    const passed = createStage({}, partlyPublished);
    await expect(passed.publisher.publishProgress(toLsn(101n))).rejects.toMatchObject({ code: 'CONTENTS_DIFFER' });
    const other = createStage({}, { ...partlyPublished, partial: { ...partial, commitLsn: toLsn(90n) } });
    await expect(other.publish(transactionOf(9))).rejects.toMatchObject({ code: 'CONTENTS_DIFFER' });
    const shorter = createStage({}, partlyPublished);
    await expect(shorter.publish(transactionOf(4), 4)).rejects.toMatchObject({ code: 'CONTENTS_DIFFER' });
    for (const stage of [passed, other, shorter]) expect(stage.kafka.committed).toEqual([]);
  });

  it('halts and aborts when a produce answer lies below the end of its partition: the topic was recreated', async () => {
    const stage = createStage();
    await stage.publish(transactionOf(20));
    for (const key of stage.kafka.ends.keys()) stage.kafka.ends.set(key, 0n);
    await expect(stage.publish(transactionOf(20))).rejects.toMatchObject({ code: 'LIVE_TOPIC_CHANGED' });
    expect(stage.kafka.aborts()).toBe(1);
    expect(stage.kafka.committed.length).toBe(1);
  });

  it('halts when the answer for the checkpoint does not go on: an event would be visible without it', async () => {
    const stage = createStage();
    await stage.publish(transactionOf(20));
    stage.kafka.ends.set(`${stage.config.checkpointTopic}:0`, 0n);
    await expect(stage.publisher.publishProgress(toLsn(500n))).rejects.toMatchObject({ code: 'LIVE_TOPIC_CHANGED' });
    expect(stage.kafka.committed.length).toBe(1);
  });

  it('records progress without events', async () => {
    const stage = createStage();
    await stage.publisher.publishProgress(toLsn(500n));
    expect(stage.checkpoints()).toMatchObject([{ throughLsn: 500n, lastPublished: null }]);
  });

  it('marks in the checkpoint when it had come how far, and tells of each checkpoint once Kafka has it', async () => {
    const told: Checkpoint[] = [];
    let nowMs = 50_000;
    const clock = { nowMs: () => nowMs, onPublished: (newest: Checkpoint) => void told.push(newest) };
    const stage = createStage({ REPLAY_WINDOW_MS: '16000' }, {}, createRecordingKafka(), clock);
    await stage.publish(transactionOf(1));
    nowMs += 900;
    await stage.publisher.publishProgress(toLsn(200n));
    nowMs += 200;
    await stage.publisher.publishProgress(toLsn(300n));
    const first = { atMs: 50_000, throughLsn: 120n };
    expect(stage.checkpoints().map(({ windowMarks }) => windowMarks)).toEqual([
      [first],
      [first],
      [first, { atMs: 51_100, throughLsn: 300n }],
    ]);
    expect(told).toEqual(stage.checkpoints());
    const off = createStage({ REPLAY_WINDOW_BYTES: '0' }, { windowMarks: [{ atMs: 1, throughLsn: toLsn(1n) }] });
    await off.publisher.publishProgress(toLsn(200n));
    expect(off.checkpoints()).toMatchObject([{ windowMarks: [] }]);
  });

  it('does not tell of a checkpoint whose commit failed', async () => {
    const told: Checkpoint[] = [];
    const kafka = createRecordingKafka();
    const clock = { onPublished: (newest: Checkpoint) => void told.push(newest) };
    const stage = createStage({}, {}, kafka, clock);
    const release = kafka.holdCommits();
    const publishing = stage.publisher.publishProgress(toLsn(200n));
    await waitFor('the commit', () => kafka.heldCommits() === 1);
    kafka.fail(new Error('fenced'));
    release();
    await expect(publishing).rejects.toThrow('fenced');
    expect(told).toEqual([]);
  });
});
