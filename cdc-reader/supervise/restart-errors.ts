// Why one start of the reader ends, or waits, without anything being wrong with what was published: the reader restarts
// from the checkpoint. Each carries a literal code. What must not be retried is a halt, in errors.ts.
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import type { HaltError } from '#service/halt.ts';

/** Ends one start, or makes it wait. */
abstract class RestartError extends Error {
  abstract readonly code: string;
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** Preflight found what only an operator can change; the reader waits and checks again. */
export class PreflightError extends RestartError {
  readonly code = 'PREFLIGHT';
  readonly problems: readonly { code: string; problem: string; remedy: string }[];
  constructor(problems: readonly { code: string; problem: string; remedy: string }[]) {
    super(problems.map(({ problem, remedy }) => `${problem} ${remedy}`).join(' '));
    this.problems = problems;
  }
}

/** Another reader is active: this one is a hot standby. */
export class StandbyError extends RestartError {
  readonly code = 'STANDBY';
  /** What the other reader has acknowledged: while it moves, that reader streams. */
  readonly confirmedFlushLsn: Lsn;
  constructor(why: string, confirmedFlushLsn: Lsn, options?: ErrorOptions) {
    super(`${why}; this reader stands by.`, options);
    this.confirmedFlushLsn = confirmedFlushLsn;
  }
}

/** Another reader holds the slot, or makes it, and does not stream yet: nobody publishes, so this is no hot standby. */
export class SlotNotStreamingError extends Error {
  readonly code = 'SLOT_NOT_STREAMING';
  constructor(why: string, options?: ErrorOptions) {
    super(`Another reader is starting: ${why.replace(/\.$/, '')}.`, options);
    this.name = 'SlotNotStreamingError';
  }
}

/** Kafka refused a group as too large. The next start publishes its transactions one by one, up to the one that is. */
export class GroupTooLargeError extends RestartError {
  readonly code = 'GROUP_TOO_LARGE';
  /** Commit LSN of the group's last transaction: up to there each is published alone. */
  readonly lastCommitLsn: Lsn;
  constructor(transactions: number, lastCommitLsn: Lsn, options?: ErrorOptions) {
    super(
      `Kafka refused ${transactions} database transactions in one group as too large; the next start publishes them one by one.`,
      options,
    );
    this.lastCommitLsn = lastCommitLsn;
  }
}

export class FirstStartUnfinishedError extends RestartError {
  readonly code = 'FIRST_START_UNFINISHED';
  constructor() {
    super(
      'The initial snapshot was interrupted: a new one is taken, and the orders that the topic lacks are published.',
    );
  }
}

/** Publication or tables changed while they were read for the first time; the next start reads them again. */
export class CaptureUnsteadyError extends Error {
  readonly code = 'CAPTURE_UNSTEADY';
  constructor() {
    super('The publication or the captured tables changed while they were read; the reader reads them again.');
    this.name = 'CaptureUnsteadyError';
  }
}

/** The server ends ordinary sessions: it is being shut down, or someone ended this one. */
export class SourceSessionEndedError extends RestartError {
  readonly code = 'SOURCE_SESSION_ENDED';
  constructor(options?: ErrorOptions) {
    super(
      'The session with the orders database has ended; the stream is closed, so that a shutdown need not wait.',
      options,
    );
  }
}

/** The stream and the session beside it reached different servers: a failover lies between the two connections. */
export class SourceMovedError extends RestartError {
  readonly code = 'SOURCE_MOVED';
  constructor(slotName: string) {
    super(
      `The slot ${slotName} is on another server than the session's, or was lost at once; both connections are reopened. ` +
        'If this repeats, the host of ORDER_DATABASE_URL resolves to several servers: name the primary.',
    );
  }
}

/** No checkpoint can be seen, but an open transaction may hold the first one. */
export class CheckpointUndecidedError extends RestartError {
  readonly code = 'CHECKPOINT_UNDECIDED';
  constructor(checkpointTopic: string) {
    super(`${checkpointTopic} has no checkpoint yet, but an open transaction; it is read again.`);
  }
}

/**
 * Someone else's transaction is open in the live topic; ours were ended by fencing. It ends by its timeout; only one
 * that its coordinator has forgotten stays (kafka-transactions.sh find-hanging, abort).
 */
export class LiveTopicTransactionOpenError extends RestartError {
  readonly code = 'LIVE_TOPIC_UNSETTLED';
  constructor(topic: string, partition: number, offset: bigint) {
    super(
      `The last stable offset of ${topic}[${partition}] is held at ${offset} by an open transaction of another producer, so what was published after it can't be read; retrying. If it stays, abort it (kafka-transactions.sh find-hanging, abort).`,
    );
  }
}

/** During this start another reader has written a checkpoint: the facts are of two moments, and prove nothing. */
export class OvertakenError extends RestartError {
  readonly code = 'OVERTAKEN';
  constructor(readThroughLsn: Lsn, newestThroughLsn: Lsn, found: HaltError) {
    super(
      `Another reader has published during this start: the checkpoint moved from ${formatLsn(readThroughLsn)} to ${formatLsn(newestThroughLsn)}. Nothing to do (${found.code} was found meanwhile, and does not count).`,
      { cause: found },
    );
  }
}

/** What was in flight could not be published before the reader had to stop; the next start publishes it. */
export class DrainAbandonedError extends RestartError {
  readonly code = 'DRAIN_ABANDONED';
  constructor(limitMs: number) {
    super(`What was in flight was not published within ${limitMs} ms of the stop; the next start publishes it.`);
  }
}
