// What can go wrong between us and Kafka, as errors with a literal `code`, and the one place that knows where kafkajs
// hides Kafka's own error name: it wraps errors in one another, and only the innermost has it.

import { createRequire } from 'node:module';

const { createErrorFromCode } = createRequire(import.meta.url)('kafkajs/src/protocol/error') as {
  createErrorFromCode(code: number): Error;
};

/** Kafka can't be reached, or did not answer, or answered something that a later attempt may not. Retry from scratch. */
export class KafkaAwayError extends Error {
  readonly code = 'KAFKA_AWAY';

  constructor(what: string, options?: ErrorOptions) {
    const cause = options?.cause instanceof Error ? `: ${options.cause.message}` : '';
    super(
      `${what}${cause}. Check that the brokers of KAFKA_BROKERS run and can be reached; it is tried again.`,
      options,
    );
    this.name = 'KafkaAwayError';
  }
}

/** A topic that must exist does not, and nobody here may create it. */
export class TopicMissingError extends Error {
  readonly code = 'TOPIC_MISSING';
  readonly topic: string;

  constructor(topic: string, remedy: string, options?: ErrorOptions) {
    super(`Topic ${topic} does not exist. ${remedy}`, options);
    this.name = 'TopicMissingError';
    this.topic = topic;
  }
}

/** A read started outside of what the partition holds: its records were deleted, or it is another topic than before. */
export class OffsetOutOfRangeError extends Error {
  readonly code = 'OFFSET_OUT_OF_RANGE';
  readonly topic: string;
  readonly partition: number;
  readonly requested: bigint;
  readonly earliest: bigint;
  readonly latest: bigint;

  constructor(at: { topic: string; partition: number; requested: bigint; earliest: bigint; latest: bigint }) {
    super(
      `${at.topic}[${at.partition}] holds offsets ${at.earliest} to ${at.latest} (exclusive); ${at.requested} was asked ` +
        `for. Either its records were deleted (retention), or the topic was deleted and created anew.`,
    );
    this.name = 'OffsetOutOfRangeError';
    this.topic = at.topic;
    this.partition = at.partition;
    this.requested = at.requested;
    this.earliest = at.earliest;
    this.latest = at.latest;
  }
}

/** A partition did not give the records up to the wanted offset in time; an open transaction may hide them. */
export class LogReadDeadlineError extends Error {
  readonly code = 'LOG_READ_DEADLINE';
  readonly topic: string;
  readonly partition: number;
  readonly position: bigint;

  constructor(
    at: { topic: string; partition: number; position: bigint; untilOffset: bigint; deadlineMs: number },
    options?: ErrorOptions,
  ) {
    const cause = options?.cause instanceof Error ? ` The last error was: ${options.cause.message}.` : '';
    super(
      `${at.topic}[${at.partition}] gave nothing beyond offset ${at.position} for ${at.deadlineMs} ms; it was to be read ` +
        `up to ${at.untilOffset}.${cause} Brokers may be away, or an open transaction hides the rest until it times out.`,
      options,
    );
    this.name = 'LogReadDeadlineError';
    this.topic = at.topic;
    this.partition = at.partition;
    this.position = at.position;
  }
}

/** Kafka's name of an error that kafkajs threw, like `NOT_LEADER_FOR_PARTITION`; undefined for a network error. */
export function kafkaErrorType(error: unknown): string | undefined {
  return findAnswer(error)?.type;
}

/** Whether repeating may mend it: Kafka's own word where Kafka answered, else any failure of kafkajs to reach it. */
export function isRetriable(error: unknown): boolean {
  return findAnswer(error)?.retriable ?? (error instanceof Error && error.name.startsWith('KafkaJS'));
}

/** The error that kafkajs makes of an error code in an answer. */
export const createKafkaError: (code: number) => Error = createErrorFromCode;

function findAnswer(error: unknown): { type: string; retriable: boolean } | undefined {
  let current: unknown = error;
  // kafkajs nests two or three deep; the bound is against a cycle.
  for (let depth = 0; depth < 8 && current instanceof Error; depth += 1) {
    const { type, retriable, errors } = current as { type?: unknown; retriable?: unknown; errors?: unknown };
    if (typeof type === 'string') return { type, retriable: retriable === true };
    current = Array.isArray(errors) ? errors[0] : current.cause;
  }
  return undefined;
}
