/**
 * Closing a connection so that the client can read the answer that was written last.
 *
 * A socket that is closed while bytes of the client are unread sends a reset, and the reset throws away the answer on
 * the client's side: it sees EPIPE instead of 413. So the write side is closed first, and what the client still sends
 * is read and thrown away, within bounds. Nothing of it is taken for a request any more. Leaves to others: the answer.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** 100 times the largest body that is read: whoever sends more has had the answer on its side for long. */
const MOST_DRAINED_BYTES = 64 * 1024 * 1024;
/** Clients close within a round trip of reading the answer. */
const DRAIN_MS = 5_000;

const closing = new WeakSet<Socket>();

/** Makes every close by the HTTP server (`Connection: close`, a broken request) one that drains first. */
export function drainBeforeClosing(server: Server): void {
  server.on('connection', (socket: Socket) => {
    // What Node's HTTP server calls after the last answer of a connection.
    socket.destroySoon = () => closeAfterDraining(socket);
  });
}

function closeAfterDraining(socket: Socket): void {
  if (closing.has(socket) || socket.destroyed) return;
  closing.add(socket);
  let drained = 0;
  // The parser must not see a request behind the last one.
  socket.removeAllListeners('data');
  socket.on('data', (data) => {
    drained += data.length;
    if (drained > MOST_DRAINED_BYTES) socket.destroy();
  });
  const timer = setTimeout(() => socket.destroy(), DRAIN_MS);
  socket.once('close', () => clearTimeout(timer));
  socket.once('end', () => socket.destroy());
  socket.end(() => {
    if (socket.readableEnded) socket.destroy();
  });
  socket.resume();
}
