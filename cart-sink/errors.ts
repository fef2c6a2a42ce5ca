/**
 * The errors of the sink: why it halts (I11), with the positions and the repairing command, and why a batch must be
 * looked up or a partition taken over again.
 *
 * Guarantees: after a HaltError the sink consumes nothing more of what it concerns (one partition, or everything) until a
 * person has acted; carts are still served. Leaves to apply/retry.ts: everything transient.
 */
import { classifyKafkaFailure } from '#kafka/failure.ts';
import { formatPosition, type Position } from '#schemas/position.ts';
import type { Failure } from '#service/failure.ts';
import { HaltError } from '#service/halt.ts';

interface Place {
  readonly topic: string;
  readonly partition: number;
}

const at = ({ topic, partition }: Place): string => `${topic}[${partition}]`;

function details({ topic, partition }: Place, more: Readonly<Record<string, bigint | number | string>>) {
  const texts = Object.entries(more).map(([name, value]) => [name, String(value)]);
  return { topic, partition: String(partition), ...Object.fromEntries(texts) };
}

/**
 * The repair of a topic that lost records, was recreated, or holds two histories. Changing `next_offset` by hand is
 * none: the missing orders would never be applied, and offsets would come again that `parked_events` has already.
 */
const ADOPT =
  'run `npm run adopt -- sink`: it shows what Kafka and the carts database hold, moves the offsets and prints the replay ' +
  'command for the missing orders. Then restart the sinks. No order takes effect twice.';

/** What an operator can do about the one record at which a partition has halted. */
const park = ({ topic, partition, offset }: Place & { offset: bigint }): string =>
  `If no version will ever apply it, park the record: \`npm run adopt -- sink --park '${topic}[${partition}]@${offset}'\` keeps its ` +
  'bytes, and the sinks go on behind it';

/** Retention, a person or the deletion of the topic removed records that were never applied. */
export class RecordsLostError extends HaltError {
  readonly code = 'RECORDS_LOST';
  override readonly scope = 'partition';

  constructor(lost: Place & { expected: bigint; earliest: bigint; lastCommitLsn: string | null }) {
    const from = lost.lastCommitLsn ?? '0/0';
    super(
      `${at(lost)} starts at offset ${lost.earliest}, but the sink has applied it only up to ${lost.expected}: the records ` +
        `between were deleted before they were applied (the last applied order was committed at ${from}). To apply their ` +
        `orders, ${ADOPT}`,
      details(lost, { expectedOffset: lost.expected, earliestOffset: lost.earliest, lastCommitLsn: from }),
    );
  }
}

/** More was consumed than the partition holds: another cluster, or the topic was recreated. */
export class OffsetBeyondEndError extends HaltError {
  readonly code = 'OFFSET_BEYOND_END';

  constructor(beyond: Place & { expected: bigint; highWatermark: bigint; lastCommitLsn: string | null }) {
    const from = beyond.lastCommitLsn ?? '0/0';
    super(
      `${at(beyond)} ends at offset ${beyond.highWatermark}, but the sink has applied it up to ${beyond.expected}: this is ` +
        `another cluster, or the topic was recreated. If it is another cluster, correct KAFKA_BROKERS and restart the ` +
        `sink. If the topic was recreated (the last order applied from it was committed at ${from}), ${ADOPT}`,
      details(beyond, { expectedOffset: beyond.expected, highWatermark: beyond.highWatermark, lastCommitLsn: from }),
    );
  }
}

/** The name leads to another topic than the one that was consumed: offsets of the two do not compare. */
export class TopicRecreatedError extends HaltError {
  readonly code = 'TOPIC_RECREATED';

  constructor(topic: Place & { expected: string; found: string; nextOffset: bigint; lastCommitLsn: string | null }) {
    const from = topic.lastCommitLsn ?? '0/0';
    super(
      `${topic.topic} is another topic than the one that the sink has applied ${at(topic)} of up to ${topic.nextOffset} ` +
        `(its id is ${topic.found}, not ${topic.expected}): it was deleted and created again, or this is another cluster. If ` +
        `it is another cluster, correct KAFKA_BROKERS and restart the sink. If the topic was created again (the last order ` +
        `applied from it was committed at ${from}), ${ADOPT}`,
      details(topic, {
        expectedTopicId: topic.expected,
        foundTopicId: topic.found,
        nextOffset: topic.nextOffset,
        lastCommitLsn: from,
      }),
    );
  }
}

/** kafkajs delivered records that were consumed already: it jumped back because the offset was out of range. */
export class OffsetWentBackError extends HaltError {
  readonly code = 'OFFSET_WENT_BACK';

  constructor(back: Place & { expected: bigint; fetched: bigint }) {
    super(
      `Kafka returned ${at(back)} from offset ${back.fetched}, but the sink has applied it up to ${back.expected}: that ` +
        `offset was out of range, so the topic was probably recreated. If it was, ${ADOPT}`,
      details(back, { expectedOffset: back.expected, fetchedOffset: back.fetched }),
    );
  }
}

/** The broker lost the end of the partition, and other records took the offsets of those that were applied. */
export class LogReplacedError extends HaltError {
  readonly code = 'OFFSET_WENT_BACK';

  constructor(replaced: Place & { expected: bigint; fetched: bigint; orderId: string; lastCommitLsn: string | null }) {
    const from = replaced.lastCommitLsn ?? '0/0';
    super(
      `${at(replaced)} holds the order ${replaced.orderId} at offset ${replaced.fetched}, before offset ${replaced.expected}, up to ` +
        `which the sink has applied it, but that order was never applied: Kafka has lost the end of the partition (a broker ` +
        `died before its last writes were on disk), and other records took its place; or the topic was recreated. The last ` +
        `order applied from it was committed at ${from}. To apply what was passed, ${ADOPT}`,
      details(replaced, {
        expectedOffset: replaced.expected,
        fetchedOffset: replaced.fetched,
        orderId: replaced.orderId,
        lastCommitLsn: from,
      }),
    );
  }
}

/** A record was written with a schema that this program does not have. Parking it would lose an order. */
export class UnknownEventSchemaError extends HaltError {
  readonly code = 'UNKNOWN_SCHEMA';
  override readonly scope = 'partition';

  constructor(record: Place & { offset: bigint }, cause: Error) {
    super(
      `The record at ${at(record)} offset ${record.offset} can't be decoded by this version: ${cause.message}. ${park(record)}`,
      details(record, { offset: record.offset }),
      { cause },
    );
  }
}

/** A permanent error on records that could be read. A retry would fail again, going on would lose the records. */
export class SinkDefectError extends HaltError {
  readonly code = 'SINK_DEFECT';
  override readonly scope = 'partition';

  constructor(batch: Place & { offset: bigint }, cause: unknown) {
    super(
      `Applying ${at(batch)} from offset ${batch.offset} failed, and a retry would fail again: ` +
        `${cause instanceof Error ? cause.message : String(cause)}. Deploy a version that can apply it, ` +
        `then restart the sink. ${park(batch)}. If the record is a readable order, add --readable-order`,
      details(batch, { offset: batch.offset }),
      { cause },
    );
  }
}

/** The topic is configured so that it can lose events unnoticed. */
export class TopicRefusedError extends HaltError {
  readonly code = 'TOPIC_REFUSED';

  constructor(topic: string, problems: readonly string[]) {
    super(problems.join('; '), { topic });
  }
}

/** An order that the ledger lacks lies at or before the furthest applied position: the topic holds two histories. */
export class PositionWentBackError extends HaltError {
  readonly code = 'POSITION_WENT_BACK';

  constructor(batch: Place, { applied, found }: { applied: Position; found: Position }) {
    super(
      `${at(batch)} contains an order at position ${formatPosition(found)} that was never applied, although the sink has ` +
        `applied it up to position ${formatPosition(applied)}: another program writes to this topic, or it belongs to ` +
        `another orders database. Find the other writer. If the orders that follow are to be applied, ${ADOPT}`,
      details(batch, { appliedPosition: formatPosition(applied), foundPosition: formatPosition(found) }),
    );
  }
}

/** The live topic was started from empty again, and no operator has announced it to the sink. */
export class GenerationChangedError extends HaltError {
  readonly code = 'GENERATION_CHANGED';

  constructor(batch: Place, { applied, found }: { applied: number; found: number }) {
    super(
      `${at(batch)} continues with events of generation ${found}, but the sink has applied generation ${applied}: the live ` +
        `topic was started from empty again, and orders may be missing in between. Find out who did it. Then ${ADOPT}`,
      details(batch, { appliedGeneration: applied, foundGeneration: found }),
    );
  }
}

/**
 * A COMMIT was sent and not answered: the batches are all applied, or none is. Not a halt. Read the stored offsets before
 * anything else: the server may still be working on the COMMIT when this is thrown.
 */
export class CommitOutcomeUnknownError extends Error {
  readonly code = 'COMMIT_OUTCOME_UNKNOWN';
  override readonly name = 'CommitOutcomeUnknownError';

  constructor(batches: readonly (Place & { nextOffset: bigint })[], cause: unknown) {
    const ranges = batches.map((batch) => `${at(batch)} up to offset ${batch.nextOffset}`).join(', ');
    super(`The COMMIT for ${ranges} was not answered, so it may or may not be applied`, { cause });
  }
}

/** A partition's row vanished during the takeover: deleted by hand, or hidden from this role. Not a halt. */
export class PartitionNotTakenError extends Error {
  readonly code = 'PARTITION_NOT_TAKEN';
  override readonly name = 'PartitionNotTakenError';

  constructor(missing: readonly Place[]) {
    super(
      `consumer_offsets returned no row for ${missing.map(at).join(', ')}: the row was deleted, or row-level security hides ` +
        'it. No partition was taken over; the sink joins the group again',
    );
  }
}

/** The session ended by itself: fenced, or Kafka and the carts database seem to have diverged. The next one decides. */
export class SessionEndedError extends Error {
  readonly code = 'SESSION_ENDED';
  override readonly name = 'SessionEndedError';

  constructor(why: string) {
    super(`The consumer-group session ended: ${why}. The sink joins the group again.`);
  }
}

/** What follows a failure of the sink. */
export function classifySinkFailure(error: unknown): Failure {
  if (error instanceof CommitOutcomeUnknownError) return { kind: 'transient', reason: 'outcome-unknown' };
  if (error instanceof SessionEndedError) return { kind: 'transient', reason: error.code };
  return classifyKafkaFailure(error);
}
