// The order of attempts against a server of three lines, where a real one can't be made to do it: what is sent, how often, and
// that a connection that was given up does not come back.
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { serverOf } from '#service/postgres/database-server.ts';

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
let server: Server | undefined;
let heard: string[];
afterEach(() => server?.close());

/** Notes what each connection says first, and lets `answer` do with it what it wants. */
async function listen(answer: (socket: Socket, first: 'ssl-request' | 'startup') => void): Promise<number> {
  heard = [];
  const listening = createServer((socket) => {
    socket.on('error', () => undefined); // the client turned away
    socket.once('data', (bytes: Buffer) => {
      const first = bytes.equals(SSL_REQUEST) ? 'ssl-request' : 'startup';
      heard.push(first);
      answer(socket, first);
    });
  });
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  return (listening.address() as AddressInfo).port;
}

const clientOf = (port: number, mode: string) => {
  const client = new pg.Client(serverOf(`postgres://u:geheim@127.0.0.1:${port}/d?sslmode=${mode}`));
  client.on('error', () => undefined);
  return client;
};

describe('a connection', () => {
  it.each([
    ['prefer', ['ssl-request', 'startup']],
    ['allow', ['startup', 'ssl-request']],
    ['require', ['ssl-request']],
    ['disable', ['startup']],
  ])('of %s begins again as libpq does where the server closes it', async (mode, attempts) => {
    const port = await listen((socket) => socket.end());
    await expect(clientOf(port, mode).connect()).rejects.toThrow();
    expect(heard).toEqual(attempts);
  });

  it('ends where bytes come in plain text behind the answer, which somebody in between has put there', async () => {
    const port = await listen((socket) => socket.write('SR\0\0\0\b\0\0\0\0'));
    await expect(clientOf(port, 'require').connect()).rejects.toThrow(/did not answer the request for TLS/);
  });

  it('names a server without TLS, and sends it nothing', async () => {
    const port = await listen((socket) => socket.write('N'));
    await expect(clientOf(port, 'require').connect()).rejects.toMatchObject({ code: 'TLS_OFF' });
    expect(heard).toEqual(['ssl-request']);
  });

  it('that is destroyed while it is made does not come back', async () => {
    const reached = Promise.withResolvers<void>();
    const port = await listen(() => reached.resolve());
    const client = clientOf(port, 'prefer');
    const connecting = client.connect();
    await reached.promise;
    (client as unknown as { connection: { stream: Socket } }).connection.stream.destroy();
    await expect(connecting).rejects.toThrow(/terminated/);
    expect(heard).toEqual(['ssl-request']);
  });
});
