// How a replay ends before its proof: each error with its exit code and the operator's remedy. Codes are those of sysexits.h
// where it has one, so that scripts can distinguish a bad argument, a busy tool and a failure.
import { EXIT_BAD_ARGUMENTS, EXIT_BAD_CONFIGURATION, ToolRefusal } from '../../run-tool.ts';

export const exitCodes = {
  done: 0,
  /** The proof did not agree, or a failure that is not listed below. */
  failed: 1,
  badArguments: EXIT_BAD_ARGUMENTS,
  /** No source holds the range. */
  unavailable: 69,
  /** Another run is being published, or is unfinished. */
  busy: 75,
  badConfiguration: EXIT_BAD_CONFIGURATION,
  /** Stopped by Ctrl-C or SIGTERM; `resume` continues it. */
  interrupted: 130,
} as const;

/** An argument that can't be used; nothing was changed. */
export class ArgumentError extends ToolRefusal {
  readonly code = 'BAD_ARGUMENT';

  constructor(argument: string, problem: string) {
    super(`${argument}: ${problem}`, exitCodes.badArguments);
  }
}

/** No source, or not the one that was named, holds the whole range. */
export class NotCoveredError extends ToolRefusal {
  readonly code = 'NOT_COVERED';

  constructor(message: string) {
    super(message, exitCodes.unavailable);
  }
}

/** The checkpoint was written by a reader that did not record which tables it captured. */
export class CapturedTablesUnknownError extends ToolRefusal {
  readonly code = 'CAPTURED_TABLES_UNKNOWN';

  constructor() {
    super(
      'The checkpoint does not record which tables were captured: an older reader wrote it, and what it did record has ' +
        'changed since. Start the reader of this version first: it checks and records the tables, or reports what is wrong.',
      exitCodes.unavailable,
    );
  }
}

/** One run at a time: another one is being published, or was left unfinished. */
export class RunBusyError extends ToolRefusal {
  readonly code = 'RUN_BUSY';

  constructor(message: string) {
    super(message, exitCodes.busy);
  }
}

/** The databases and Kafka that the variables name are not those of one pipeline. */
export class PipelineMismatchError extends ToolRefusal {
  readonly code = 'PIPELINE_MISMATCH';

  constructor(message: string) {
    super(message, exitCodes.badConfiguration);
  }
}

/** A server is unavailable, or the pipeline is not in a state from which a replay can start. */
export class NotReadyError extends ToolRefusal {
  readonly code = 'NOT_READY';

  constructor(message: string, options?: ErrorOptions) {
    super(message, exitCodes.failed, options);
  }
}

/** Stopped by a signal; everything published so far is complete. */
export class InterruptedError extends ToolRefusal {
  readonly code = 'INTERRUPTED';

  constructor() {
    super('stopped', exitCodes.interrupted);
  }
}
