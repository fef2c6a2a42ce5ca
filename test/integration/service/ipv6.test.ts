// The whole pipeline by IPv6 loopback: database URLs with [::1], and [::1] in KAFKA_BROKERS. What listens there passes bytes
// on to the servers of the tests, which listen on 127.0.0.1 only.
import { connect, createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDisasterStage, type DisasterStage, slow } from '../../support/stack/disaster-stage.ts';
import { waitFor } from '../../support/wait.ts';

/** The port on ::1 that leads to `port` on 127.0.0.1; undefined where the machine has no ::1. */
async function openForwarder(port: number, servers: Server[]): Promise<number | undefined> {
  const server = createServer((socket) => {
    const onward = connect(port, '127.0.0.1');
    socket.on('error', () => onward.destroy()).pipe(onward);
    onward.on('error', () => socket.destroy()).pipe(socket);
    socket.once('close', () => onward.destroy());
  });
  servers.push(server);
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen(0, '::1', () => resolve((server.address() as { port: number }).port));
  });
}

describe('servers at IPv6 addresses', () => {
  let stage: DisasterStage;
  const servers: Server[] = [];

  beforeEach(async () => {
    stage = await createDisasterStage('ipv6');
  });
  afterEach(async () => {
    await stage.cleanUp();
    for (const server of servers.splice(0)) server.close();
  });

  it('are reached by services and tools alike', async ({ skip }) => {
    const { env } = stage.environment;
    const over: Record<string, string> = {};
    for (const name of ['ORDER_DATABASE_URL', 'CART_DATABASE_URL'] as const) {
      const url = new URL(env[name]);
      const port = await openForwarder(Number(url.port), servers);
      if (port === undefined) return skip('this machine has no ::1');
      over[name] = `${url.protocol}//${url.username}:a&b,c@[::1]:${port}${url.pathname}\n`;
    }
    const kafka = env.KAFKA_BROKERS.split(',')[0]!.split(':')[1];
    over.KAFKA_BROKERS = `[::1]:${await openForwarder(Number(kafka), servers)}`;
    const shop = await stage.environment.startService('order-api', over);
    await shop.waitReady();
    await stage.startReader(over);
    await stage.startSink(over);
    const traffic = stage.startTraffic();
    await waitFor('some orders', async () => stage.nextOrder() >= 10, slow);
    await traffic.stop();
    await stage.waitApplied();
    expect((await stage.run('audit', ['--wait-seconds', '60'], { env: over })).code).toBe(0);
    await stage.run('replay', ['--from-lsn', '0/1', '--yes'], { env: over });
  });
});
