// What can go wrong between this program and Kafka, as errors with a literal `code`, and the one place that knows where
// kafkajs hides Kafka's own error name: it wraps errors in one another, and only the innermost one has it. What follows
// from an error (restart, wait, halt) is left to the callers.

import { createRequire } from 'node:module';
import { alterTopicCommand } from './topic-commands.ts';

const { createErrorFromCode } = createRequire(import.meta.url)('kafkajs/src/protocol/error') as {
  createErrorFromCode(code: number): Error;
};

/** What failed with the cause's own words behind it. */
function withCause(what: string, options: ErrorOptions | undefined): string {
  return options?.cause instanceof Error ? `${what}: ${options.cause.message}` : what;
}

/** Kafka can't be reached, did not answer, or answered with something that a later attempt may not meet. Transient. */
export class KafkaUnavailableError extends Error {
  readonly code = 'KAFKA_AWAY';

  constructor(
    what: string,
    options?: ErrorOptions,
    remedy = 'Check that the brokers in KAFKA_BROKERS are running and reachable.',
  ) {
    super(`${withCause(what, options)}. ${remedy}`, options);
    this.name = 'KafkaUnavailableError';
  }
}

/** A required topic does not exist, and this program may not create it. */
export class TopicMissingError extends Error {
  readonly code = 'TOPIC_MISSING';
  readonly topic: string;

  constructor(topic: string, remedy: string, options?: ErrorOptions) {
    super(`Topic ${topic} does not exist. ${remedy}`, options);
    this.name = 'TopicMissingError';
    this.topic = topic;
  }
}

/** A read began outside the partition's offsets: its records were deleted, or the topic was recreated. */
export class OffsetOutOfRangeError extends Error {
  readonly code = 'OFFSET_OUT_OF_RANGE';
  readonly topic: string;
  readonly partition: number;
  readonly requested: bigint;
  readonly earliest: bigint;
  readonly latest: bigint;

  constructor(at: { topic: string; partition: number; requested: bigint; earliest: bigint; latest: bigint }) {
    super(
      `Offset ${at.requested} of ${at.topic}[${at.partition}] is out of range: the partition holds ${at.earliest} to ` +
        `${at.latest} (exclusive). Either retention deleted its records, or the topic was deleted and recreated.`,
    );
    this.name = 'OffsetOutOfRangeError';
    this.topic = at.topic;
    this.partition = at.partition;
    this.requested = at.requested;
    this.earliest = at.earliest;
    this.latest = at.latest;
  }
}

/** A partition did not return the records up to the wanted offset in time; an open transaction may hide them. */
export class LogReadDeadlineError extends Error {
  readonly code = 'LOG_READ_DEADLINE';
  readonly topic: string;
  readonly partition: number;
  readonly position: bigint;

  constructor(
    at: { topic: string; partition: number; position: bigint; untilOffset: bigint; deadlineMs: number },
    options?: ErrorOptions,
  ) {
    const cause = options?.cause instanceof Error ? ` Last error: ${options.cause.message}.` : '';
    super(
      `Reading ${at.topic}[${at.partition}] made no progress for ${at.deadlineMs} ms at offset ${at.position} (reading to ` +
        `${at.untilOffset}).${cause} Either brokers are unavailable, or an open transaction hides the rest until it times out.`,
      options,
    );
    this.name = 'LogReadDeadlineError';
    this.topic = at.topic;
    this.partition = at.partition;
    this.position = at.position;
  }
}

/** Another owner of this transactional id fenced the producer, or the transaction outlived its timeout. */
export class ProducerFencedError extends Error {
  readonly code = 'PRODUCER_FENCED';

  constructor(transactionalId: string, options?: ErrorOptions) {
    super(
      `Kafka fenced the producer of ${transactionalId}: another process has taken over the transactional id, or the ` +
        `transaction was open for longer than its timeout. Kafka aborts that transaction; nothing of it becomes visible.`,
      options,
    );
    this.name = 'ProducerFencedError';
  }
}

const MEBIBYTE = 1024 * 1024;

/** Twice the record, in whole mebibytes: a batch has a header, and further records of its transaction. */
function raiseMessageBytes(topic: string, largestRecordBytes: number): string {
  const bytes = Math.ceil((2 * largestRecordBytes) / MEBIBYTE) * MEBIBYTE;
  return alterTopicCommand(topic, 'max.message.bytes', String(bytes));
}

/** Kafka refused a batch as too large. A retry can't help. */
export class RecordTooLargeError extends Error {
  readonly code = 'RECORD_TOO_LARGE';
  readonly largestRecordBytes: number;

  constructor(at: { topics: readonly string[]; largestRecordBytes: number }, options?: ErrorOptions) {
    super(
      `Kafka refused a record batch as too large; its largest record has ${at.largestRecordBytes} bytes. Raise ` +
        `max.message.bytes of ${at.topics.join(', ')}, then restart: ` +
        `${at.topics.map((topic) => raiseMessageBytes(topic, at.largestRecordBytes)).join(', ')}.`,
      options,
    );
    this.name = 'RecordTooLargeError';
    this.largestRecordBytes = at.largestRecordBytes;
  }
}

/** A commit may have been sent, and no response tells whether it took effect. Only what the topics hold can tell. */
export class PublishOutcomeUnknownError extends Error {
  readonly code = 'PUBLISH_OUTCOME_UNKNOWN';

  constructor(transactionalId: string, options?: ErrorOptions) {
    const what = withCause(`The commit of a transaction of ${transactionalId} has an unknown outcome`, options);
    super(`${what}. What was committed is read back from Kafka at the next start; there is nothing to do.`, options);
    this.name = 'PublishOutcomeUnknownError';
  }
}

/** Kafka's name of an error that kafkajs threw, like `NOT_LEADER_FOR_PARTITION`; undefined for a network error. */
export function kafkaErrorType(error: unknown): string | undefined {
  return findProtocolError(error)?.type;
}

export function isKafkajsError(error: unknown): error is Error {
  return error instanceof Error && error.name.startsWith('KafkaJS');
}

/** Whether a retry may succeed: as Kafka says where it responded, else for any failure of kafkajs to reach it. */
export function isRetriable(error: unknown): boolean {
  return findProtocolError(error)?.retriable ?? isKafkajsError(error);
}

/** The error that kafkajs makes of an error code in a response. */
export const createKafkaError: (code: number) => Error = createErrorFromCode;

function findProtocolError(error: unknown): { type: string; retriable: boolean } | undefined {
  let current: unknown = error;
  // kafkajs nests two or three deep; the bound is against a cycle.
  for (let depth = 0; depth < 8 && current instanceof Error; depth += 1) {
    const { type, retriable, errors } = current as { type?: unknown; retriable?: unknown; errors?: unknown };
    if (typeof type === 'string') return { type, retriable: retriable === true };
    current = Array.isArray(errors) ? errors[0] : current.cause;
  }
  return undefined;
}
