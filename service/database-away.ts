/**
 * Tells a database that can't be had right now from a statement that is wrong.
 *
 * Pure. The first passes by itself and may be tried again (HTTP 503, a pipeline's back-off); the second never does.
 * After such an error the outcome of a COMMIT is unknown.
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
  // Only an operator ends these two, but until then it is as away: nothing was stored, and a retry finds it ended.
  'SESSION_SETTINGS',
  'POOLER_UNFIT',
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
