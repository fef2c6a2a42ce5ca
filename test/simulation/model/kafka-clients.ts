// What the services hold of Kafka, over the model: the log by offset, the reader's connection (with the real code of the
// checkpoint topic) and its transactional producer, with the errors and the once-broken-always-broken of the real one.

import { createCheckpointTopic } from '#kafka/checkpoint-topic.ts';
import {
  KafkaUnavailableError,
  LogReadDeadlineError,
  OffsetOutOfRangeError,
  ProducerFencedError,
  PublishOutcomeUnknownError,
  TopicMissingError,
} from '#kafka/errors.ts';
import type { TransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import type { KafkaLog, LogRecord } from '#kafka/reading/log.ts';
import type { KafkaConnection } from '../../../cdc-reader/startup/kafka-connection.ts';
import type { World } from '../world.ts';
import { CHECKPOINTS, FencedError, LIVE, type ModelKafka, type Transaction } from './kafka.ts';

const TRANSACTIONAL_ID = 'tillstream';
const RETRY_MS = 100;
const away = () => new KafkaUnavailableError('Kafka did not answer');

export function openLog(world: World, kafka: ModelKafka): KafkaLog {
  const readOffsets: KafkaLog['readOffsets'] = (topic) =>
    world.read(
      `reads the ends of ${topic}`,
      () => {
        const partitions = kafka.topics.get(topic);
        if (partitions === undefined) throw new TopicMissingError(topic, '');
        return new Map(
          partitions.map((partition) => {
            const { earliest } = partition;
            return [
              partition.partition,
              { earliest, lastStable: kafka.lastStable(partition), highWatermark: kafka.end(partition) },
            ];
          }),
        );
      },
      away,
    );
  return {
    readOffsets,
    readTopicId: async () => null, // the model's topics are never created again
    async *readRecords({ topic, partition: number, fromOffset, untilOffset, deadlineMs }) {
      const giveUpMs = world.nowMs + deadlineMs;
      for (let position = fromOffset; position < untilOffset; ) {
        const { records, next } = await world.read(
          `reads ${topic}[${number}] from ${position}`,
          () => {
            const partition = kafka.partition(topic, number);
            const { earliest } = partition;
            const latest = kafka.end(partition);
            if (position < earliest || position > latest) {
              throw new OffsetOutOfRangeError({ topic, partition: number, requested: position, earliest, latest });
            }
            const stable = kafka.lastStable(partition);
            const end = stable < untilOffset ? stable : untilOffset;
            const { visible } = kafka.read(partition, position, end);
            return { records: visible.map(toLogRecord), next: end > position ? end : position };
          },
          away,
        );
        if (records.length > 0) yield records;
        if (next === position) {
          if (world.nowMs >= giveUpMs) {
            throw new LogReadDeadlineError({ topic, partition: number, position, untilOffset, deadlineMs });
          }
          await world.delay(RETRY_MS);
        }
        position = next;
      }
    },
    close: async () => undefined,
  };
}

const toLogRecord = ({
  offset,
  key,
  value,
}: {
  offset: bigint;
  key: Buffer | null;
  value: Buffer | null;
}): LogRecord => ({
  offset,
  key,
  value,
  headers: {},
});

export function openReaderConnection(world: World, kafka: ModelKafka): KafkaConnection {
  const log = openLog(world, kafka);
  return {
    log,
    checkpointTopic: createCheckpointTopic({ log, topic: CHECKPOINTS, slotName: 'tillstream' }),
    hasCheckpointTopic: async () => true,
    ensureTopics: async () => undefined,
    async countLiveOffsets() {
      const offsets = await log.readOffsets(LIVE);
      return [...offsets.values()].reduce((sum, { highWatermark }) => sum + highWatermark, 0n);
    },
    close: async () => undefined,
  };
}

export async function openProducer(world: World, kafka: ModelKafka): Promise<TransactionalProducer> {
  let isUsable = true;
  /** Any failure makes the producer unusable, as the real one. */
  const run = async <T>(what: string, work: () => T): Promise<T> => {
    if (!isUsable) throw new KafkaUnavailableError(`This producer failed before: no ${what}`);
    try {
      return await world.request(what, work, away);
    } catch (error) {
      isUsable = false;
      if (error instanceof FencedError) throw new ProducerFencedError(TRANSACTIONAL_ID, { cause: error });
      if (what === 'commit') throw new PublishOutcomeUnknownError(TRANSACTIONAL_ID, { cause: error });
      throw error;
    }
  };
  const epoch = await run('fences', () => kafka.initialise());
  return {
    producerId: 1n,
    close: async () => {
      isUsable = false;
    },
    async begin() {
      let transaction: Transaction | null = null;
      return {
        async send(records) {
          const sentTo = await run(`sends ${records.length} records`, () => {
            const isTorn = world.chance(4);
            const sent = kafka.produce(epoch, transaction, records, isTorn ? 1 : undefined);
            transaction = sent.transaction;
            if (isTorn) throw away();
            return sent.sentTo;
          });
          return sentTo;
        },
        commit: () => run('commit', () => kafka.endTransaction(epoch, transaction, 'committed')),
        abort: () => run('abort', () => kafka.endTransaction(epoch, transaction, 'aborted')),
      };
    },
  };
}
