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

function refusalOf<const C extends string>(code: C, exitCode: number) {
  return class extends ToolRefusal {
    readonly code = code;

    constructor(message: string, options?: ErrorOptions) {
      super(message, exitCode, options);
    }
  };
}

/** An argument that can't be used; nothing was changed. */
export class ArgumentError extends refusalOf('BAD_ARGUMENT', exitCodes.badArguments) {
  constructor(argument: string, problem: string) {
    super(`${argument}: ${problem}`);
  }
}

/** No source, or not the one that was named, holds the whole range. */
export class NotCoveredError extends refusalOf('NOT_COVERED', exitCodes.unavailable) {}

/** The checkpoint was written by a reader that did not record which tables it captured. */
export class CapturedTablesUnknownError extends refusalOf('CAPTURED_TABLES_UNKNOWN', exitCodes.unavailable) {}

/** One run at a time: another one is being published, or was left unfinished. */
export class RunBusyError extends refusalOf('RUN_BUSY', exitCodes.busy) {}

/** The databases and Kafka that the variables name are not those of one pipeline. */
export class PipelineMismatchError extends refusalOf('PIPELINE_MISMATCH', exitCodes.badConfiguration) {}

/** A server is unavailable, or the pipeline is not in a state from which a replay can start. */
export class NotReadyError extends refusalOf('NOT_READY', exitCodes.failed) {}

/** Stopped by a signal; everything published so far is complete. */
export class InterruptedError extends refusalOf('INTERRUPTED', exitCodes.interrupted) {
  constructor() {
    super('stopped');
  }
}
