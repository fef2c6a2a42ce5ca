// Why one start of the reader ends, or waits, without anything being wrong with what was published: each is followed by
// another start. What must not be tried again is a halt, in errors.ts.
import type { Lsn } from '#schemas/lsn.ts';

/** Preflight found what only an operator can change; the reader waits and looks again. */
export class PreflightError extends Error {
  readonly code = 'PREFLIGHT';
  readonly problems: readonly { code: string; problem: string; remedy: string }[];
  constructor(problems: readonly { code: string; problem: string; remedy: string }[]) {
    super(problems.map(({ problem, remedy }) => `${problem} ${remedy}`).join(' '));
    this.name = 'PreflightError';
    this.problems = problems;
  }
}

/** Another reader is at work: this one stands by. */
export class StandbyError extends Error {
  readonly code = 'STANDBY';
  constructor(why: string, options?: ErrorOptions) {
    super(`Another reader is at work: ${why}.`, options);
    this.name = 'StandbyError';
  }
}

/** Kafka refused a group as too large. The next start publishes its transactions one by one, up to the one that is. */
export class GroupTooLargeError extends Error {
  readonly code = 'GROUP_TOO_LARGE';
  /** Commit LSN of the group's last transaction: up to there each is published alone. */
  readonly lastCommitLsn: Lsn;
  constructor(transactions: number, lastCommitLsn: Lsn, options?: ErrorOptions) {
    super(
      `Kafka refused ${transactions} database transactions in one group as too large; the next start publishes them one by one.`,
      options,
    );
    this.name = 'GroupTooLargeError';
    this.lastCommitLsn = lastCommitLsn;
  }
}

/** A first start began and did not end: it has to be done again, under its lock. */
export class FirstStartUnfinishedError extends Error {
  readonly code = 'FIRST_START_UNFINISHED';
  constructor() {
    super('The first start was interrupted; it is done again.');
    this.name = 'FirstStartUnfinishedError';
  }
}

/** The server ends ordinary sessions: it is being shut down, or someone ended this one. */
export class SourceSessionEndedError extends Error {
  readonly code = 'SOURCE_SESSION_ENDED';
  constructor(options?: ErrorOptions) {
    super(
      'The session with the orders database has ended; the stream is given up so that a shutdown need not wait.',
      options,
    );
    this.name = 'SourceSessionEndedError';
  }
}

/** The stream and the session beside it reached different servers: a failover lies between the two connections. */
export class SourceMovedError extends Error {
  readonly code = 'SOURCE_MOVED';
  constructor(slotName: string) {
    super(
      `The slot ${slotName} was taken on another server than the session's, or lost at once; both are opened again. If ` +
        `this goes on, the host of ORDER_DATABASE_URL leads to several servers: name the primary.`,
    );
    this.name = 'SourceMovedError';
  }
}

/** No checkpoint can be seen, but a transaction that has not ended may hold the first one. */
export class CheckpointUndecidedError extends Error {
  readonly code = 'CHECKPOINT_UNDECIDED';
  constructor(checkpointTopic: string) {
    super(
      `There is no checkpoint in ${checkpointTopic} yet, but a transaction in it that has not ended; it is read again.`,
    );
    this.name = 'CheckpointUndecidedError';
  }
}

/**
 * Someone else's transaction is open in the live topic; ours were ended by fencing. It ends by its timeout; only one
 * that its coordinator has forgotten stays (kafka-transactions.sh find-hanging, abort).
 */
export class LiveTopicTransactionOpenError extends Error {
  readonly code = 'LIVE_TOPIC_UNSETTLED';
  constructor(topic: string, partition: number, offset: bigint) {
    super(
      `A transaction of another producer is open in ${topic}[${partition}] from offset ${offset} on, so what was published behind it can't be read; it is waited for. If it stays, end it (kafka-transactions.sh).`,
    );
    this.name = 'LiveTopicTransactionOpenError';
  }
}

/** While this start was looking, the checkpoint went on: what it saw is of two moments, and proves nothing. */
export class OvertakenError extends Error {
  readonly code = 'OVERTAKEN';
  constructor(found: Error) {
    super(
      'Another reader has published while this one was starting; it looks again. What did not fit together: ' +
        found.message,
      { cause: found },
    );
    this.name = 'OvertakenError';
  }
}

/** What was in flight could not be published before the reader had to stop; the next start does it. */
export class DrainAbandonedError extends Error {
  readonly code = 'DRAIN_ABANDONED';
  constructor(limitMs: number) {
    super(`What was in flight was not published within ${limitMs} ms of the stop; the next start publishes it.`);
    this.name = 'DrainAbandonedError';
  }
}
