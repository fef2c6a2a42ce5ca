// A transactional producer that only takes notes, with offsets that grow as Kafka's: a marker in each written partition at
// every commit. Commits can be held back, sends made slow or made to fail, records refused as too large.
import { setTimeout as delay } from 'node:timers/promises';
import { RecordTooLargeError } from '#kafka/errors.ts';
import type { OutgoingRecord, TransactionalProducer } from '#kafka/producer/transactional-producer.ts';

export function createRecordingKafka(options: { slowSendMs?: number; maxValueBytes?: number } = {}) {
  const committed: OutgoingRecord[][] = [];
  const ends = new Map<string, bigint>();
  let aborted = 0;
  let gate = Promise.resolve();
  let failure: Error | undefined;
  let waitingCommits = 0;
  const nameOf = ({ topic, partition }: OutgoingRecord) => `${topic}:${partition}`;

  const producer: TransactionalProducer = {
    producerId: 1n,
    close: async () => {},
    begin: async () => {
      const sent: OutgoingRecord[] = [];
      return {
        async send(records) {
          if (failure !== undefined) throw failure;
          const largestRecordBytes = Math.max(...records.map(({ value }) => value.length));
          if (largestRecordBytes > (options.maxValueBytes ?? Number.POSITIVE_INFINITY)) {
            throw new RecordTooLargeError({ topics: ['orders.placed'], largestRecordBytes });
          }
          const bases = new Map<string, { topic: string; partition: number; baseOffset: bigint }>();
          for (const record of records) {
            const { topic, partition } = record;
            const end = ends.get(nameOf(record)) ?? 0n;
            if (!bases.has(nameOf(record))) bases.set(nameOf(record), { topic, partition, baseOffset: end });
            ends.set(nameOf(record), end + 1n);
            sent.push(record);
          }
          if (options.slowSendMs !== undefined) await delay(options.slowSendMs);
          return [...bases.values()];
        },
        async commit() {
          waitingCommits += 1;
          await gate;
          waitingCommits -= 1;
          if (failure !== undefined) throw failure;
          committed.push(sent);
          for (const name of new Set(sent.map(nameOf))) ends.set(name, ends.get(name)! + 1n);
        },
        async abort() {
          aborted += 1;
        },
      };
    },
  };
  return {
    producer,
    committed,
    ends,
    aborts: () => aborted,
    /** Commits that were asked for and are held back. */
    heldCommits: () => waitingCommits,
    /** Holds commits back until the returned function is called. */
    holdCommits(): () => void {
      const { promise, resolve } = Promise.withResolvers<void>();
      gate = promise;
      return resolve;
    },
    /** From now on everything fails with `error`. */
    fail(error: Error): void {
      failure = error;
    },
  };
}
