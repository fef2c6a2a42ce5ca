// One direction of one proxied connection. Everything that arrives passes one queue, its end included, so that bytes are
// never reordered or lost by holding, delaying or pausing; what is held waits beside the queue until it is released.
// Listening and pairing two directions is left to tcp-proxy.ts.

import type { Socket } from 'node:net';

/** What happens to bytes: forward these, hold them and all that follow, cut the connection, or forward some and hold or cut at the rest */
export type ProxyVerdict = Buffer | 'hold' | 'cut' | { forward: Buffer; rest: 'hold' | 'cut' };

export type ProxyFlow = {
  /** Bytes received so far, those being judged not included. */
  receivedBytes(): number;
  /** Sends on what was held, and stops holding. */
  release(): void;
  pause(): void;
  resume(): void;
};

type Item =
  | { kind: 'bytes'; data: Buffer; dueMs: number }
  | { kind: 'end'; dueMs: number }
  | { kind: 'cut'; dueMs: number };

/**
 * Forwards `from` to `to`. `judge` decides about each chunk as it arrives, except while something is held; `delayMs` is
 * asked for each chunk; `cut` destroys both sockets.
 */
export function createProxyFlow(options: {
  from: Socket;
  to: Socket;
  judge: (data: Buffer) => ProxyVerdict;
  delayMs: () => number;
  cut: () => void;
}): ProxyFlow {
  const { from, to, judge, delayMs, cut } = options;
  const queue: Item[] = [];
  let held: Item[] | undefined;
  let paused = false;
  let timer: NodeJS.Timeout | undefined;
  let receivedBytes = 0;

  const deliver = (item: Item): void => {
    if (item.kind === 'end') to.end();
    // `end` lets the bytes before it arrive first.
    else if (item.kind === 'cut') to.end(cut);
    else if (!to.write(item.data)) {
      from.pause();
      to.once('drain', () => {
        if (!paused) from.resume();
      });
    }
  };

  const pump = (): void => {
    clearTimeout(timer);
    for (let item = queue[0]; item !== undefined && !paused && !to.destroyed; item = queue[0]) {
      const waitMs = item.dueMs - performance.now();
      if (waitMs > 0) {
        timer = setTimeout(pump, Math.ceil(waitMs));
        return;
      }
      queue.shift();
      deliver(item);
    }
  };

  const push = (item: Item): void => {
    if (held !== undefined) held.push(item);
    else queue.push(item);
    pump();
  };
  const pushBytes = (data: Buffer): void => {
    if (data.length > 0) push({ kind: 'bytes', data, dueMs: performance.now() + delayMs() });
  };

  from.setNoDelay(true);
  from.on('data', (data: Buffer) => {
    const verdict = held === undefined ? judge(data) : data;
    receivedBytes += data.length;
    if (Buffer.isBuffer(verdict)) {
      pushBytes(verdict);
    } else if (verdict === 'cut') {
      cut();
    } else if (verdict === 'hold') {
      held = [];
      pushBytes(data);
    } else {
      pushBytes(verdict.forward);
      if (verdict.rest === 'cut') {
        push({ kind: 'cut', dueMs: performance.now() + delayMs() });
      } else {
        held = [];
        pushBytes(data.subarray(verdict.forward.length));
      }
    }
  });
  from.on('end', () => push({ kind: 'end', dueMs: performance.now() + delayMs() }));
  // One side breaking shows as the other side breaking.
  from.on('error', cut);
  from.on('close', () => {
    if (!from.readableEnded) cut();
  });

  return {
    receivedBytes: () => receivedBytes,
    release() {
      const waiting = held ?? [];
      held = undefined;
      queue.push(...waiting);
      pump();
    },
    pause() {
      paused = true;
      from.pause();
    },
    resume() {
      paused = false;
      from.resume();
      pump();
    },
  };
}
