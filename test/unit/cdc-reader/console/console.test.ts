// Viewers of the console: what they get, and what becomes of one who does not read.
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHttpServer, type HttpServer } from '#service/http-server.ts';
import { createLogger } from '#service/logger.ts';
import { createMetrics } from '#service/metrics.ts';
import { type Console, createConsole } from '../../../../cdc-reader/console/console.ts';
import { waitFor } from '../../../support/wait.ts';

const MOST_UNREAD_BYTES = 512 * 1024;

let served: Console;
let server: HttpServer;
let url: URL;
/** Of the connections at the server, in the sequence in which they came. */
let sockets: Socket[];
let clients: Socket[];

beforeEach(async () => {
  sockets = [];
  clients = [];
  const logger = createLogger('test', 'silent');
  const metrics = createMetrics('test');
  let reading = 0;
  served = createConsole({
    services: [],
    access: { token: undefined, fetch, certificates: [] },
    metrics,
    pipeline: () => ({ ready: true, body: { state: 'streaming' } }),
    // Some 50 kB that are others with each reading.
    events: () => {
      reading += 1;
      const one = (count: number) => ({
        at: new Date().toISOString(),
        event: 'e',
        text: `${reading} ${count} `,
        why: 'x'.repeat(400),
      });
      return { startedAt: new Date().toISOString(), events: Array.from({ length: 100 }, (_, count) => one(count)) };
    },
    logger,
    everyMs: 1,
  });
  server = await createHttpServer({
    service: 'test',
    host: '127.0.0.1',
    port: 0,
    logger,
    metrics,
    readiness: () => ({ ready: true, body: {} }),
    addOperations: served.addRoutes,
  });
  server.app.server.on('connection', (socket) => sockets.push(socket));
  url = new URL(await server.listen());
});
afterEach(async () => {
  for (const client of clients) client.destroy();
  served.close();
  await server.close();
});

/** Counts the bytes that it reads. */
function view(): { readonly client: Socket; readonly bytes: () => number; readonly text: () => string } {
  const client = connect(Number(url.port), url.hostname);
  clients.push(client);
  client.on('error', () => undefined);
  let bytes = 0;
  let first = '';
  client.on('data', (chunk) => {
    bytes += chunk.length;
    if (first.length < 1_000) first += chunk.toString('latin1');
  });
  client.write(`GET /console/events HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`);
  return { client, bytes: () => bytes, text: () => first };
}

describe('a viewer of the console', () => {
  it('gets a snapshot first, and then what has changed', async () => {
    const { bytes, text } = view();
    await waitFor('some readings', async () => bytes() > 500_000);
    expect(text()).toMatch(/text\/event-stream[\s\S]*retry: 1000\n\n[\s\S]*event: snapshot\ndata: \{"verdict":/);
  });

  it('who does not read is dropped, with bounded memory, and nobody else is', async () => {
    const reading = view();
    await waitFor('the first viewer', async () => reading.bytes() > 0);
    const idle = view();
    await waitFor('the second connection', async () => sockets.length === 2);
    idle.client.pause();
    let most = 0;
    const [, socket] = sockets;
    await waitFor(
      'the one who does not read to be dropped',
      async () => {
        most = Math.max(most, socket!.writableLength);
        return socket!.destroyed;
      },
      { deadlineMs: 20_000 },
    );
    expect(most).toBeGreaterThan(0);
    // One reading more than the limit at most.
    expect(most).toBeLessThan(MOST_UNREAD_BYTES + 100_000);
    const before = reading.bytes();
    await waitFor('the other one to get more', async () => reading.bytes() > before + 500_000);
    expect(sockets[0]!.destroyed).toBe(false);
    const another = view();
    await waitFor('a place for another', async () => /event: snapshot/.test(another.text()));
  });
});
