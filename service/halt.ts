/**
 * The halted state of a service: continuity can't be proven, and only a person can continue (I11).
 *
 * Guarantees: the first halt of everything is kept, counted and logged once; later ones, which are often its consequences,
 * change nothing. Halts of partitions are counted and logged while the partitions are kept. Leaves to the pipeline: to stop
 * publishing or consuming, and not to retry.
 */
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** Logged once, when the pipeline halts. */
const PIPELINE_HALTED = 'pipeline.halted';
const HALTED_METRIC = 'tillstream_halted';

export interface Halt {
  readonly code: string;
  /** What was found, and the remedy. */
  readonly message: string;
  /** The positions and names that an operator needs. */
  readonly details: Readonly<Record<string, string>>;
  /** ISO 8601. */
  readonly since: string;
}

/** A reason for halting. Subclasses carry a literal `code`; the message holds the remedy. */
export abstract class HaltError extends Error {
  abstract readonly code: string;
  /** What must stop: everything, or only the partition where the cause is; whoever gets that later decides again. */
  readonly scope: 'all' | 'partition' = 'all';
  readonly details: Readonly<Record<string, string>>;

  constructor(message: string, details: Readonly<Record<string, string>> = {}, options?: ErrorOptions) {
    super(message, options);
    this.details = details;
    this.name = new.target.name;
  }
}

export interface HaltState {
  halt(error: HaltError): void;
  /** One partition has halted; the rest goes on. */
  haltPartition(error: HaltError): void;
  /** The partitions were given up: whoever takes them over decides again. */
  releasePartitions(): void;
  /** The halt of everything. */
  current(): Halt | undefined;
}

export function createHaltState(metrics: Metrics, logger: Logger): HaltState {
  const gauge = metrics.gauge(HALTED_METRIC, '1 while the service is halted, by error code', ['code']);
  let current: Halt | undefined;
  const report = (error: HaltError): void => {
    gauge.set({ code: error.code }, 1);
    logger.error({ event: PIPELINE_HALTED, code: error.code, details: error.details, err: error }, error.message);
  };
  return {
    halt: (error) => {
      if (current !== undefined) return;
      const since = new Date().toISOString();
      current = Object.freeze({ code: error.code, message: error.message, details: error.details, since });
      report(error);
    },
    haltPartition: report,
    releasePartitions: () => {
      if (current === undefined) gauge.reset();
    },
    current: () => current,
  };
}
