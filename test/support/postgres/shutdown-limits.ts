/**
 * A fast shutdown that waits for nobody takes a few hundred milliseconds. One that waits for a silent reader ends at
 * wal_sender_timeout, which therefore is far beyond the deadline here.
 */
export const shutdownDeadlineMs = 5_000;
export const WAL_SENDER_TIMEOUT_MS = '60000';
