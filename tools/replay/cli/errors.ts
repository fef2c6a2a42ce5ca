// How a replay ends before its proof, each with the process's exit code and what the operator can do. Codes are those of
// sysexits.h where it has one, so that scripts can tell a wrong argument from a busy tool and both from a failure.

import { EXIT_BAD_ARGUMENTS, EXIT_BAD_CONFIGURATION, ToolRefusal } from '../../run-tool.ts';

export const exitCodes = {
  done: 0,
  /** The proof did not agree, or something failed that is not named below. */
  failed: 1,
  badArguments: EXIT_BAD_ARGUMENTS,
  /** No source holds what was asked for. */
  unavailable: 69,
  /** Another run is being published, or is unfinished. */
  busy: 75,
  badConfiguration: EXIT_BAD_CONFIGURATION,
  /** Stopped by Ctrl-C or SIGTERM; `resume` goes on. */
  interrupted: 130,
} as const;

abstract class ReplayError extends ToolRefusal {
  abstract readonly code: string;

  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, exitCode);
    this.name = new.target.name;
    if (options?.cause !== undefined) this.cause = options.cause;
  }
}

/** An argument that can't be used; nothing was changed. */
export class ArgumentError extends ReplayError {
  readonly code = 'BAD_ARGUMENT';

  constructor(argument: string, problem: string) {
    super(`${argument}: ${problem}`, exitCodes.badArguments);
  }
}

/** No source, or not the one that was named, holds the whole range. */
export class NotCoveredError extends ReplayError {
  readonly code = 'NOT_COVERED';

  constructor(message: string) {
    super(message, exitCodes.unavailable);
  }
}

/** The checkpoint was written by a reader that did not record which tables it captured. */
export class CapturedTablesUnknownError extends ReplayError {
  readonly code = 'CAPTURED_TABLES_UNKNOWN';

  constructor() {
    super(
      'The checkpoint does not say which tables were captured: an older reader wrote it, and what it did record is not so ' +
        'any more. Start the reader of this version first: it checks the tables and records them, or says what is wrong.',
      exitCodes.unavailable,
    );
  }
}

/** One run at a time: another one is being published, or was left unfinished. */
export class RunBusyError extends ReplayError {
  readonly code = 'RUN_BUSY';

  constructor(message: string) {
    super(message, exitCodes.busy);
  }
}

/** The databases and Kafka that the variables name are not those of one pipeline. */
export class PipelineMismatchError extends ReplayError {
  readonly code = 'PIPELINE_MISMATCH';

  constructor(message: string) {
    super(message, exitCodes.badConfiguration);
  }
}

/** A server is away, or the pipeline is not in a state that a replay can start from. */
export class NotReadyError extends ReplayError {
  readonly code = 'NOT_READY';

  constructor(message: string, options?: ErrorOptions) {
    super(message, exitCodes.failed, options);
  }
}

/** Told to stop; everything published so far is complete. */
export class InterruptedError extends ReplayError {
  readonly code = 'INTERRUPTED';

  constructor() {
    super('stopped', exitCodes.interrupted);
  }
}
