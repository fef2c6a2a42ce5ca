// A socket whose reads are coalesced gets the same bytes in fewer reads, and a quiet one is not kept waiting.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { coalesceReads } from '../../../../cdc-reader/postgres/raw-replication.ts';

const server = createServer();
let sender: Socket;
let receiver: Socket;

beforeEach(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  receiver = connect((server.address() as AddressInfo).port, '127.0.0.1');
  sender = (await accepted)[0] as Socket;
  sender.setNoDelay(true);
});

afterEach(async () => {
  receiver.destroy();
  sender.destroy();
  server.close();
  await once(server, 'close');
});

/** Sends small numbered messages one by one, as a walsender does; tells what came and in how many reads. */
async function stream(messages: number): Promise<{ text: string; reads: number }> {
  let text = '';
  let reads = 0;
  receiver.on('data', (data: Buffer) => {
    text += data.toString('latin1');
    reads += 1;
  });
  const ended = once(receiver, 'end');
  for (let n = 0; n < messages; n++) {
    sender.write(`${n};`);
    await nextTurn();
  }
  sender.end();
  await ended;
  return { text, reads };
}

const expected = (messages: number): string => Array.from({ length: messages }, (_, n) => `${n};`).join('');

describe('coalesced reads', () => {
  it('bring a busy stream whole and in order, in far fewer reads', async () => {
    coalesceReads(receiver);
    const { text, reads } = await stream(3_000);
    expect(text).toBe(expected(3_000));
    expect(reads).toBeLessThan(1_000);
  });

  it('(without them, the same stream takes about a read a message)', async () => {
    const { text, reads } = await stream(3_000);
    expect(text).toBe(expected(3_000));
    expect(reads).toBeGreaterThan(1_500);
  });

  it('let the first reads after a pause through at once', async () => {
    let nowMs = 0;
    coalesceReads(receiver, () => nowMs);
    // Ten messages, a quiet time, ten more: never busy, so the timer that would delay a read is never started.
    const { setTimeout: realSetTimeout } = globalThis;
    let delays = 0;
    globalThis.setTimeout = ((run: () => void, ms?: number) => {
      delays += 1;
      return realSetTimeout(run, ms);
    }) as typeof setTimeout;
    try {
      for (let round = 0; round < 3; round++) {
        for (let n = 0; n < 10; n++) {
          const came = once(receiver, 'data');
          sender.write('x');
          await came;
        }
        nowMs += 100;
      }
    } finally {
      globalThis.setTimeout = realSetTimeout;
    }
    expect(delays).toBe(0);
  });

  it('respect a paused socket, and lose nothing of what waited meanwhile', async () => {
    coalesceReads(receiver);
    let text = '';
    let reads = 0;
    receiver.on('data', (data: Buffer) => {
      text += data.toString('latin1');
      if (++reads % 5 === 0) {
        receiver.pause();
        setImmediate(() => receiver.resume());
      }
    });
    const ended = once(receiver, 'end');
    for (let n = 0; n < 2_000; n++) {
      sender.write(`${n};`);
      if (n % 3 === 0) await nextTurn();
    }
    sender.end();
    await ended;
    expect(text).toBe(expected(2_000));
  });
});
