// Clients that would stop a server that waits for them: 500 that send a request byte by byte, and 16 that ask for the greatest
// page, a cart of 1,000 lines, again and again, and read it slowly. They are to harm nobody's orders.

import { randomUUID } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { query } from './stack.ts';

const tricklers = 500;
const pageReaders = 16;
const linesOfACart = 1_000;
const byteEveryMs = 500;
/** Of the answer that a slow reader takes at a time. */
const pauseMs = 250;
const userId = 'user-of-the-greatest-page';

/** The cart that is asked for; before the oracle opens the carts. */
export async function fillGreatestCart(cartsUrl: string): Promise<void> {
  const ids = Array.from({ length: linesOfACart }, () => randomUUID());
  const skus = ids.map((_, index) => `SKU-${String(index).padStart(60, '0')}`);
  const insert =
    'INSERT INTO cart_lines (line_id, user_id, sku, quantity) SELECT id, $1, sku, 1 FROM unnest($2::uuid[], $3::text[]) AS t (id, sku)';
  await query(cartsUrl, insert, [userId, ids, skus]);
}

/** Begins; the result ends all of it, and says how many pages were read to their end. */
export function sendSlowly(url: string): () => number {
  const { hostname, port } = new URL(url);
  const open = new Set<Socket>();
  let isOver = false;
  let pages = 0;

  const start = (use: (socket: Socket) => void): void => {
    if (isOver) return;
    const socket = connect(Number(port), hostname);
    open.add(socket);
    socket.on('error', () => undefined); // the server ends what is too slow: the next one follows
    socket.once('close', () => {
      open.delete(socket);
      start(use);
    });
    socket.once('connect', () => use(socket));
  };
  const trickle = (socket: Socket): void => {
    socket.write('GET /carts/nobody HTTP/1.1\r\n');
    const timer = setInterval(() => socket.write('a'), byteEveryMs);
    socket.once('close', () => clearInterval(timer));
    socket.resume();
  };
  const readPage = (socket: Socket): void => {
    socket.write(`GET /carts/${userId} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nConnection: close\r\n\r\n`);
    socket.on('data', () => {
      socket.pause();
      setTimeout(() => socket.resume(), pauseMs);
    });
    socket.once('end', () => {
      pages += 1;
      socket.end();
    });
  };
  for (let number = 0; number < tricklers; number += 1) start(trickle);
  for (let number = 0; number < pageReaders; number += 1) start(readPage);
  return () => {
    isOver = true;
    for (const socket of open) socket.destroy();
    return pages;
  };
}
