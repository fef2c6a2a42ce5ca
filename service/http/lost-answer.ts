/**
 * Whether a statement that failed may have been committed all the same.
 *
 * Where a connection broke under a statement, it may have been; what the server refused, or what was never sent, was
 * not. That nothing was sent is noted where connections are opened (service/database.ts): the error alone can't tell.
 */
import { causesOf } from '../failure.ts';

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
  return [...causesOf(error)].some((cause) => {
    const { code } = cause as { code?: unknown };
    const text = typeof code === 'string' ? code : '';
    return BROKEN_CODES.has(text) || BROKEN_SQLSTATE.test(text) || BROKEN_MESSAGE.test(cause.message);
  });
}
