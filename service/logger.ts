/**
 * Structured logs: one JSON object per line on standard output, with a constant `event` name and a message for people.
 *
 * Guarantees that errors are logged by a list of allowed properties: Postgres puts row values into `detail` and
 * `where`, and libraries attach requests and clients to their errors. Row values are never logged.
 */
import type { Logger, LoggerOptions } from 'pino';
import { destination, pino, stdTimeFunctions } from 'pino';

export type { Logger };

/** Properties of errors that hold names and no row values. */
const ALLOWED = [
  'code',
  'severity',
  'schema',
  'table',
  'column',
  'constraint',
  'routine',
  'syscall',
  'details',
] as const;

const STANDARD_OUTPUT = 1;

/** How deep a chain of causes is followed. */
const DEEPEST_CAUSE = 5;

/** The loggable part of an error: class, message, stack, the allowed properties, and the same of its causes. */
export function formatError(error: unknown): Record<string, unknown> {
  return formatChain(error, 0);
}

function formatChain(error: unknown, depth: number): Record<string, unknown> {
  if (!(error instanceof Error)) return { type: typeof error };
  const formatted: Record<string, unknown> = { type: error.name, message: error.message, stack: error.stack };
  for (const property of ALLOWED) {
    const value = (error as unknown as Record<string, unknown>)[property];
    if (value !== undefined) formatted[property] = value;
  }
  if (error.cause !== undefined && depth < DEEPEST_CAUSE) formatted.cause = formatChain(error.cause, depth + 1);
  return formatted;
}

/** A line as the code gave it, at `info` or above. */
export interface LoggedLine {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/**
 * The format of the log, for any destination.
 * @param note gets each line at `info` or above, also those that `level` keeps out of the log
 */
export function loggerOptions(service: string, level: string, note?: (line: LoggedLine) => void): LoggerOptions {
  const { values } = pino.levels;
  const least = values[level] ?? Number.POSITIVE_INFINITY;
  const noting: LoggerOptions =
    (note && {
      level: least > values.info! ? 'info' : level,
      hooks: {
        logMethod(args, method, of) {
          const [fields, text] = args as [unknown, unknown?];
          if (of >= values.info! && typeof fields === 'object' && fields !== null) {
            note({ fields: fields as LoggedLine['fields'], text: String(text ?? '') });
          }
          if (of >= least) method.apply(this, args);
        },
      },
    }) ||
    {};
  return {
    level,
    ...noting,
    base: { service },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: formatError },
  };
}

/**
 * A logger to standard output; `level` is one of pino's. Pass errors as `err`. A line is written when the call returns:
 * the last lines before an exit or a crash matter most. `note`: see {@link loggerOptions}.
 */
export function createLogger(service: string, level: string, note?: (line: LoggedLine) => void): Logger {
  return pino(loggerOptions(service, level, note), destination({ fd: STANDARD_OUTPUT, sync: true }));
}
