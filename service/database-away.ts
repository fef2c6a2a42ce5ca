/**
 * Tells a database that can't be had right now from a statement that is wrong, and whether a statement may have been
 * carried out all the same.
 *
 * The first passes by itself and may be tried again (HTTP 503 or 504, a pipeline's back-off); the second never does.
 * Where a connection broke under a statement, that statement may have been committed; what the server refused, or what
 * was never sent, was not.
 */

/** Node's errors of sockets and of name look-ups, this machine's want of ports or descriptors, and the pool's codes. */
const CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EADDRNOTAVAIL',
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'CONNECTION_POOL:QUEUE_TIMEOUT',
  'CONNECTION_POOL:OPEN_TIMEOUT',
  'DATABASE_ACQUIRE_TIMEOUT',
]);

/**
 * SQLSTATEs: 08 connection exceptions, 53 out of connections, disk or memory, 57P01 to 57P05 the server is going down,
 * coming up or ending the session, 57014 statement timeout, 55P03 lock timeout, 25P03 and 25P04 session ended for
 * idling in a transaction or for its length, 25006 the server became a standby.
 */
const SQLSTATE = /^(08...|53...|57P0[1-5]|57014|55P03|25P0[34]|25006)$/;

/** `pg` throws these without a code. */
const MESSAGE =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout expired$|Query read timeout$|timeout exceeded when trying to connect)/;

/** SQLSTATEs of a transaction that was rolled back for the sake of another one, and may well succeed the next time. */
const CONFLICT = /^(40001|40P01)$/;

/** How deep a chain of causes is followed. */
const DEEPEST_CAUSE = 5;

/** Whether `error`, or what caused it, says that the database can't be had right now. */
export function isDatabaseAway(error: unknown): boolean {
  return someCause(error, (code, message) => CODES.has(code) || SQLSTATE.test(code) || MESSAGE.test(message));
}

/** What breaks a connection that was open: the server may have committed, and only the answer is lost. */
const BROKEN_CODES = new Set([
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
]);

/**
 * The server ended the session in the middle of a statement. Of these the first may even follow a commit: one that
 * waited for a synchronous standby. Cancelled statements (57014, 55P03) and others refused by the server are rolled back.
 */
const BROKEN_SQLSTATE = /^(08...|57P01|57P02|57P04)$/;

const BROKEN_MESSAGE = /^(Connection terminated( unexpectedly)?|Query read timeout)$/;

/** Errors that came before a connection was there: no statement was sent. */
const beforeStatement = new WeakSet<Error>();

/** Notes that `error` prevented a statement from being sent; returns it. */
export function markNothingSent(error: unknown): unknown {
  if (error instanceof Error) beforeStatement.add(error);
  return error;
}

/** Whether a statement that failed with `error`, in a transaction of its own, may have been committed. */
export function isOutcomeUnknown(error: unknown): boolean {
  if (error instanceof Error && beforeStatement.has(error)) return false;
  return someCause(
    error,
    (code, message) => BROKEN_CODES.has(code) || BROKEN_SQLSTATE.test(code) || BROKEN_MESSAGE.test(message),
  );
}

/** Whether `error`, or what caused it, is a serialization failure or a deadlock: nothing was stored, trying again helps. */
export function isTransactionConflict(error: unknown): boolean {
  return someCause(error, (code) => CONFLICT.test(code));
}

function someCause(error: unknown, fits: (code: string, message: string) => boolean): boolean {
  let current = error;
  for (let depth = 0; depth <= DEEPEST_CAUSE && current instanceof Error; depth++) {
    const { code } = current as { code?: unknown };
    if (fits(typeof code === 'string' ? code : '', current.message)) return true;
    current = current.cause;
  }
  return false;
}
