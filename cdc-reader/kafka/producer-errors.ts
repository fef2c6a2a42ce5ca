// How publishing fails. All but a record that is too large end the same way: discard the producer, start again, and let
// the checkpoint tell what happened. They differ in what they say about other readers and about the transaction.

/** Another owner of this transactional id came, or the transaction outlived its timeout: Kafka takes nothing from us. */
export class ProducerFencedError extends Error {
  readonly code = 'PRODUCER_FENCED';

  constructor(transactionalId: string, options?: ErrorOptions) {
    super(
      `Kafka takes no more records from this producer of ${transactionalId}: another reader has taken over, or the ` +
        `transaction was open for longer than its timeout. Nothing of it is visible. Start again from the checkpoint.`,
      options,
    );
    this.name = 'ProducerFencedError';
  }
}

/** Kafka refused a batch as too large; trying again can't help. */
export class RecordTooLargeError extends Error {
  readonly code = 'RECORD_TOO_LARGE';
  readonly largestRecordBytes: number;

  constructor(at: { topics: readonly string[]; largestRecordBytes: number }, options?: ErrorOptions) {
    super(
      `Kafka refused a batch as too large; its largest record has ${at.largestRecordBytes} bytes. Raise max.message.bytes ` +
        `of ${at.topics.join(', ')} (kafka-configs.sh --alter --add-config max.message.bytes=…) and start again.`,
      options,
    );
    this.name = 'RecordTooLargeError';
    this.largestRecordBytes = at.largestRecordBytes;
  }
}

/** A commit was sent or about to be, and no answer tells whether it happened. Only the checkpoint topic knows. */
export class PublishOutcomeUnknownError extends Error {
  readonly code = 'PUBLISH_OUTCOME_UNKNOWN';

  constructor(transactionalId: string, options?: ErrorOptions) {
    const cause = options?.cause instanceof Error ? `: ${options.cause.message}` : '';
    super(
      `Whether the transaction of ${transactionalId} was committed is unknown${cause}. Discard the producer, create a ` +
        `new one and read the checkpoint.`,
      options,
    );
    this.name = 'PublishOutcomeUnknownError';
  }
}
