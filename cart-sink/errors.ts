/**
 * Why the sink halts (I11), each with the positions that a person needs and what repairs it.
 *
 * Guarantees: after one of these nothing more is consumed until a person has looked; carts are served on. Leaves to
 * apply/retry.ts: everything that passes by itself.
 */
import { formatPosition, type Position } from '#schemas/position.ts';
import { HaltError } from '#service/halt.ts';

interface Place {
  readonly topic: string;
  readonly partition: number;
}

const at = ({ topic, partition }: Place): string => `${topic}[${partition}]`;

const place = ({ topic, partition }: Place) => ({ topic, partition: String(partition) });

/**
 * What repairs a topic that lost records, was created anew, or holds two histories. Moving `next_offset` by hand would
 * not: what the topic lacks would never be applied, and offsets would come again that `parked_events` has already.
 */
const ADOPT =
  'run `npm run adopt -- sink`, which shows both sides, moves the offsets and prints the replay command that applies what ' +
  'is missing; then restart the sinks. The ledger is kept: nothing takes effect twice.';

/** Records that were never applied are gone from Kafka: deleted by retention, by hand, or with their topic. */
export class RecordsLostError extends HaltError {
  readonly code = 'RECORDS_LOST';

  constructor(lost: Place & { expected: bigint; earliest: bigint; lastCommitLsn: string | null }) {
    const from = lost.lastCommitLsn ?? '0/0';
    super(
      `${at(lost)} begins at offset ${lost.earliest}, but ${lost.expected} is to be consumed next: the records between ` +
        `were never applied (the last applied one was committed at ${from}). To go on and apply their orders, ${ADOPT}`,
      {
        ...place(lost),
        expectedOffset: String(lost.expected),
        earliestOffset: String(lost.earliest),
        lastCommitLsn: from,
      },
    );
  }
}

/** More was consumed than the partition ever held: another cluster, or the topic was deleted and created anew. */
export class OffsetBeyondEndError extends HaltError {
  readonly code = 'OFFSET_BEYOND_END';

  constructor(beyond: Place & { expected: bigint; highWatermark: bigint; lastCommitLsn: string | null }) {
    const from = beyond.lastCommitLsn ?? '0/0';
    super(
      `${at(beyond)} ends at offset ${beyond.highWatermark}, but everything before ${beyond.expected} was consumed: this ` +
        `is another cluster, or the topic was deleted and created anew. Point KAFKA_BROKERS at the right cluster; or, if ` +
        `the topic is gone (the last order applied from it was committed at ${from}), ${ADOPT}`,
      {
        ...place(beyond),
        expectedOffset: String(beyond.expected),
        highWatermark: String(beyond.highWatermark),
        lastCommitLsn: from,
      },
    );
  }
}

/** Kafka gave records that were consumed already: its client jumped back because the offset was out of range. */
export class OffsetWentBackError extends HaltError {
  readonly code = 'OFFSET_WENT_BACK';

  constructor(back: Place & { expected: bigint; fetched: bigint }) {
    super(
      `${at(back)} was read from offset ${back.fetched}, but ${back.expected} is to be consumed next: the offset was out ` +
        `of range, so the topic was probably deleted and created anew. If it was, ${ADOPT}`,
      { ...place(back), expectedOffset: String(back.expected), fetchedOffset: String(back.fetched) },
    );
  }
}

/** A record was written with a schema that this program does not have. Parking it would lose an order. */
export class UnknownEventSchemaError extends HaltError {
  readonly code = 'UNKNOWN_SCHEMA';

  constructor(record: Place & { offset: bigint }, cause: Error) {
    super(
      `the record at ${at(record)} offset ${record.offset} can't be read yet: ${cause.message}`,
      {
        ...place(record),
        offset: String(record.offset),
      },
      { cause },
    );
  }
}

/** The sink itself failed on records that it could read. Trying again would fail again, going on would lose them. */
export class SinkDefectError extends HaltError {
  readonly code = 'SINK_DEFECT';

  constructor(batch: Place & { offset: bigint }, cause: unknown) {
    super(
      `applying ${at(batch)} from offset ${batch.offset} on failed by a defect: ` +
        `${cause instanceof Error ? cause.message : String(cause)}. Deploy a version that can apply it, then restart`,
      { ...place(batch), offset: String(batch.offset) },
      { cause },
    );
  }
}

/** The topic is kept in a way that loses events without a trace, so that no gap in it could be noticed. */
export class TopicRefusedError extends HaltError {
  readonly code = 'TOPIC_REFUSED';

  constructor(topic: string, problems: readonly string[]) {
    super(problems.join('; '), { topic });
  }
}

/** An order that the ledger does not have lies at or before the furthest one applied: two histories are in one topic. */
export class PositionWentBackError extends HaltError {
  readonly code = 'POSITION_WENT_BACK';

  constructor(batch: Place, { applied, found }: { applied: Position; found: Position }) {
    super(
      `${at(batch)} holds an order at position ${formatPosition(found)} that was never applied, after ` +
        `${formatPosition(applied)} was: something else writes to this topic, or it belongs to another database. Find the ` +
        `other writer; if the orders that follow are to be applied, ${ADOPT}`,
      { ...place(batch), appliedPosition: formatPosition(applied), foundPosition: formatPosition(found) },
    );
  }
}

/** The live topic was started anew, and nobody has told the sink. */
export class GenerationChangedError extends HaltError {
  readonly code = 'GENERATION_CHANGED';

  constructor(batch: Place, { applied, found }: { applied: number; found: number }) {
    super(
      `${at(batch)} goes on with generation ${found}, but ${applied} was applied: the live topic was started anew and ` +
        `orders may lie in between. Find out who did; then ${ADOPT}`,
      { ...place(batch), appliedGeneration: String(applied), foundGeneration: String(found) },
    );
  }
}

/**
 * A COMMIT was sent and its outcome is not known: the batch is applied, or it is not. Not a halt. Read the settled
 * offset before anything else: the server may still be working on the COMMIT when this is thrown.
 */
export class CommitOutcomeUnknownError extends Error {
  readonly code = 'COMMIT_OUTCOME_UNKNOWN';
  override readonly name = 'CommitOutcomeUnknownError';

  constructor(batch: Place & { nextOffset: bigint }, cause: unknown) {
    super(`it is not known whether ${at(batch)} was applied up to offset ${batch.nextOffset}`, { cause });
  }
}
