// Framing: whatever pieces the socket gives, every message comes once, whole and in order, to us or to pg.
import { EventEmitter, once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CopyReceiver, createCopySocket, takeCopyData } from '../../../../cdc-reader/postgres/copy-stream.ts';

const messageOf = (kind: string, content: Uint8Array) => {
  const head = Buffer.alloc(5);
  head.write(kind);
  head.writeUInt32BE(4 + content.length, 1);
  return Buffer.concat([head, content]);
};

function receive(pieces: readonly Buffer[]): [string, string][] {
  const received: [string, string][] = [];
  const socket = new EventEmitter();
  socket.on('data', (bytes: Buffer) => {
    expect(bytes.length).toBe(1 + bytes.readUInt32BE(1));
    received.push([bytes.toString('latin1', 0, 1), bytes.toString('hex', 5)]);
  });
  takeCopyData(socket as unknown as Parameters<typeof takeCopyData>[0], {
    onRead: () => undefined,
    onCopyData: (bytes, start, end) => received.push(['d', bytes.toString('hex', start, end)]),
  });
  expect(socket.listenerCount('data')).toBe(1);
  for (const piece of pieces) socket.emit('data', piece);
  return received;
}

describe('the copy stream', () => {
  it('gives CopyData to us and the rest to pg, however it was cut', () => {
    const message = fc.record({
      kind: fc.constantFrom('d', 'd', 'd', 'C', 'Z', 'E', 'c'),
      content: fc.uint8Array({ maxLength: 40 }),
    });
    const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 12 }), cuts, (messages, shares) => {
        const all = Buffer.concat(messages.map(({ kind, content }) => messageOf(kind, content)));
        const at = [0, ...shares.map((share) => Math.round(share * all.length)), all.length].toSorted((a, b) => a - b);
        const pieces = at.slice(1).map((end, index) => all.subarray(at[index], end));
        expect(receive(pieces)).toEqual(
          messages.map(({ kind, content }) => [kind, Buffer.from(content).toString('hex')]),
        );
      }),
    );
  });

  it('puts a large message together once, not with each of its pieces', () => {
    const content = Buffer.alloc(40 * 1024 * 1024, 7);
    const bytes = messageOf('d', content);
    const pieces = Array.from({ length: 640 }, (_, n) => bytes.subarray(n * 65_536, (n + 1) * 65_536));
    const rest = bytes.subarray(640 * 65_536);
    let received = 0;
    const socket = new EventEmitter();
    socket.on('data', () => undefined);
    const concat = Buffer.concat;
    let concatenated = 0;
    Buffer.concat = (list, length) => {
      concatenated += 1;
      return concat(list, length);
    };
    try {
      const onCopyData: CopyReceiver['onCopyData'] = (_, start, end) => {
        received += end - start;
      };
      takeCopyData(socket as unknown as Parameters<typeof takeCopyData>[0], { onRead: () => undefined, onCopyData });
      for (const piece of [...pieces, rest]) socket.emit('data', piece);
    } finally {
      Buffer.concat = concat;
    }
    expect([received, concatenated]).toEqual([content.length, 1]);
  });

  it('reads from a real socket into memory that is used again, and stops reading when it is paused', async () => {
    const server = createServer((peer) => {
      peer.setNoDelay(true);
      peer.once('data', async () => {
        peer.write(messageOf('W', Buffer.alloc(0)));
        // Of every size around a read's, each cut anywhere by the network.
        for (let size = 1; size < 400; size += 1) {
          const message = messageOf('d', Buffer.alloc(size * 450, size));
          if (!peer.write(message)) await once(peer, 'drain');
        }
        peer.end(messageOf('c', Buffer.alloc(0)));
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = createCopySocket();
    const kinds: string[] = [];
    const sizes: number[] = [];
    let reads = 0;
    let readsWhilePaused = 0;
    socket.on('data', (bytes: Buffer) => kinds.push(bytes.toString('latin1', 0, 1)));
    socket.connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    takeCopyData(socket, {
      onRead: () => {
        reads += 1;
        readsWhilePaused = socket.isPaused() ? readsWhilePaused + 1 : 0;
        // What a resume has begun ends one read later.
        expect(readsWhilePaused).toBeLessThanOrEqual(1);
        if (reads % 10 !== 0) return;
        socket.pause();
        setImmediate(() => {
          socket.resume();
          socket.pause();
          setTimeout(() => socket.resume(), 5);
        });
      },
      onCopyData: (bytes, start, end) => {
        const size = (end - start) / 450;
        sizes.push(size);
        expect(bytes.subarray(start, end).every((byte) => byte === size % 256)).toBe(true);
      },
    });
    socket.write('go');
    await once(socket, 'end');
    expect(kinds).toEqual(['W', 'c']);
    expect(sizes).toEqual(Array.from({ length: 399 }, (_, n) => n + 1));
    socket.destroy();
    server.close();
  });
});
