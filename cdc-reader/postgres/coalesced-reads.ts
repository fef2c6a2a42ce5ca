// Fewer, larger reads from a busy socket. The walsender flushes every message by itself, so a reader that keeps up sees
// reads of some 300 bytes, each with the full price of a system call, a buffer and an event. Waiting 1 ms after a read
// while more keeps coming lets the kernel gather tens of kilobytes. A quiet stream is never delayed: an order of a few
// items fits into the reads that are let through at once. Only timing changes, never the bytes or their order.

import type { Socket } from 'node:net';

/** Reads let through at once after a pause in the stream: begin, relations, an order and its items, commit. */
const READS_AT_ONCE = 16;
/** A gap as long as this between reads ends a busy spell. Longer than the wait itself, which is 1–2 ms in Node. */
const QUIET_MS = 5;
const WAIT_MS = 1;

/**
 * Makes `socket` wait 1 ms between reads while its stream is busy. It uses the two points where a Node stream decides
 * about reading on: what `push` returns (false: stop reading), and `_read` (start again). The socket stays flowing.
 */
export function coalesceReads(socket: Socket, nowMs: () => number = () => performance.now()): void {
  const push = socket.push.bind(socket);
  const read = socket._read.bind(socket);
  let readsOfSpell = 0;
  let lastReadAtMs = Number.NEGATIVE_INFINITY;
  let isWaiting = false;

  socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    const readAtMs = nowMs();
    readsOfSpell = readAtMs - lastReadAtMs > QUIET_MS ? 1 : readsOfSpell + 1;
    lastReadAtMs = readAtMs;
    const isBusy = chunk !== null && readsOfSpell > READS_AT_ONCE;
    isWaiting ||= isBusy;
    return push(chunk, encoding) && !isBusy;
  };
  socket._read = (size: number): void => {
    if (!isWaiting) {
      read(size);
      return;
    }
    setTimeout(() => {
      isWaiting = false;
      if (!socket.destroyed) read(size);
    }, WAIT_MS);
  };
}
