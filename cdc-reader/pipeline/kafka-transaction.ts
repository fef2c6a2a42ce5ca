// One Kafka transaction: what is sent, and the checkpoint that covers it, become visible together or not at all (I5).
// Guarantees: a produce response whose base offset lies below the end of its partition is seen before the commit (Kafka's
// client does not notice a topic that was recreated under a running producer); nothing becomes visible before a
// publication check that began after the rows had come (I11). What goes into a transaction is publish.ts's.
import { RecordTooLargeError } from '#kafka/errors.ts';
import type { KafkaTransaction, OutgoingRecord } from '#kafka/producer/transactional-producer.ts';
import { type Checkpoint, formatCheckpoint } from '#schemas/checkpoint.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import { activeTracer } from '#service/tracing/tracing.ts';
import type { CdcReaderConfig } from '../config.ts';
import { EventTooLargeError } from '../encode/unpublishable-errors.ts';
import { LiveTopicChangedError } from '../errors.ts';
import type { ReaderMetrics } from '../metrics.ts';
import { addWindowMark } from '../replay-window/window-policy.ts';
import type { ReaderSession } from '../startup/session.ts';
import type { CaptureCheck } from './capture-check.ts';
import { PublishSpan } from './publish-span.ts';

export interface TransactionsOptions {
  readonly config: CdcReaderConfig;
  readonly session: Pick<ReaderSession, 'producer' | 'checkpointTopic' | 'nextOffsets'> & {
    readonly checkpoint: Checkpoint;
  };
  readonly metrics: ReaderMetrics;
  readonly logger: Logger;
  readonly captureCheck: CaptureCheck;
  /** Called with each checkpoint once Kafka has committed it. */
  readonly onPublished?: ((checkpoint: Checkpoint) => void) | undefined;
  readonly nowMs?: () => number;
}

/** What a checkpoint changes; the rest stays as it is in the newest one. */
type CheckpointChanges = Pick<Checkpoint, 'throughLsn'> & Partial<Checkpoint>;

export interface OpenTransaction {
  send(records: readonly OutgoingRecord[]): Promise<void>;
  /** Once, at the end: the last records, with the checkpoint that covers the transaction. */
  sendLast(records: readonly OutgoingRecord[], changes: CheckpointChanges): Promise<void>;
}

export class CheckpointedTransactions {
  readonly #options: TransactionsOptions;
  #checkpoint: Checkpoint;
  #nextOffsets: readonly bigint[];
  /** The end of each partition that was written to, the checkpoint's too; a commit marker takes one offset in each. */
  #ends: Map<string, bigint>;

  constructor(options: TransactionsOptions) {
    const { config, session } = options;
    this.#options = options;
    this.#checkpoint = session.checkpoint;
    this.#nextOffsets = session.nextOffsets;
    this.#ends = new Map(session.nextOffsets.map((end, partition) => [`${config.ordersTopic}-${partition}`, end]));
  }

  /** The newest checkpoint that Kafka has committed. */
  get checkpoint(): Checkpoint {
    return this.#checkpoint;
  }

  /** Commits what `fill` sends. @throws EventTooLargeError, the halt of a publication check, or an error of Kafka */
  async run(fill: (transaction: OpenTransaction) => Promise<void>): Promise<void> {
    const { config, session, metrics, logger, captureCheck, onPublished } = this.#options;
    const written = new Map<string, bigint>();
    let next = this.#checkpoint;
    // All that is sent has come by now. Beside the sends the check takes no time of its own.
    const check = captureCheck.run(this.#checkpoint.throughLsn);
    check.catch(() => undefined); // thrown where it is awaited, unless something else has ended this before
    const tracer = activeTracer();
    const span = tracer && new PublishSpan(tracer);
    const kafka = await session.producer.begin();
    try {
      await fill({
        send: (records) => {
          span?.add(records);
          return this.#send(kafka, records, written);
        },
        sendLast: (records, changes) => {
          span?.add(records);
          next = this.#nextCheckpoint(changes, records, written);
          return this.#send(kafka, [...records, session.checkpointTopic.record(formatCheckpoint(next))], written);
        },
      });
      await check;
      await failpoint('reader.before-commit');
      await kafka.commit();
      this.#checkpoint = next;
      span?.end(config.ordersTopic);
    } catch (error) {
      span?.end(config.ordersTopic, error);
      // The first failure is the one to report; where the abort fails too, the next start's fencing aborts it.
      await kafka.abort().catch((abortError) => logger.debug({ err: abortError }, 'The abort failed as well.'));
      if (error instanceof RecordTooLargeError) throw new EventTooLargeError(error, this.#checkpoint.throughLsn);
      throw error;
    }
    for (const [name, end] of written) this.#ends.set(name, end + 1n);
    this.#nextOffsets = this.#nextOffsets.map((end, p) => this.#ends.get(`${config.ordersTopic}-${p}`) ?? end);
    metrics.published(next);
    onPublished?.(next);
  }

  /** Above the expected offset is a duplicate commit marker; below it, another topic. */
  async #send(
    kafka: KafkaTransaction,
    records: readonly OutgoingRecord[],
    written: Map<string, bigint>,
  ): Promise<void> {
    const counts = countByPartition(records);
    for (const { topic, partition, baseOffset } of await kafka.send(records)) {
      const name = `${topic}-${partition}`;
      const expected = written.get(name) ?? this.#ends.get(name) ?? 0n;
      if (baseOffset < expected) {
        const what = `Produce returned base offset ${baseOffset} for ${name}, expected ${expected} or more`;
        throw new LiveTopicChangedError(what, { baseOffset, expected });
      }
      written.set(name, baseOffset + BigInt(counts.get(topic)![partition]!));
    }
  }

  #nextCheckpoint(
    changes: CheckpointChanges,
    last: readonly OutgoingRecord[],
    written: ReadonlyMap<string, bigint>,
  ): Checkpoint {
    const { config, captureCheck, nowMs = Date.now } = this.#options;
    const mark = { atMs: nowMs(), throughLsn: changes.throughLsn };
    const windowMarks = addWindowMark(this.#checkpoint.windowMarks, mark, config.replayWindow);
    const nextOffsets = this.#nextOffsets;
    // At least: a response may come with a higher base offset, and the commit marker takes an offset too.
    const endOffsets = nextOffsets.map((end, partition) => written.get(`${config.ordersTopic}-${partition}`) ?? end);
    for (const [partition, count] of (countByPartition(last).get(config.ordersTopic) ?? []).entries()) {
      endOffsets[partition]! += BigInt(count ?? 0);
    }
    return { ...this.#checkpoint, nextOffsets, endOffsets, windowMarks, capture: captureCheck.accepted, ...changes };
  }
}

/** How many records each partition of each topic gets. */
function countByPartition(records: readonly OutgoingRecord[]): ReadonlyMap<string, readonly (number | undefined)[]> {
  const counts = new Map<string, number[]>();
  for (const { topic, partition } of records) {
    const ofTopic = counts.get(topic) ?? [];
    if (ofTopic.length === 0) counts.set(topic, ofTopic);
    ofTopic[partition] = (ofTopic[partition] ?? 0) + 1;
  }
  return counts;
}
