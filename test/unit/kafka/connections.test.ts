// How brokers are named to kafkajs, which cuts an address at its first colon, and where a connection then leads.
import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createConnections } from '#kafka/connections.ts';
import { plainServers } from '#kafka/servers.ts';

const hasIpv6 = await new Promise<boolean>((resolve) => {
  const server = createServer();
  server.once('error', () => resolve(false));
  server.listen(0, '::1', () => server.close(() => resolve(true)));
});

describe('the connections of a Kafka client', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  it('name brokers so that what is before the first colon is the host', () => {
    const { brokers } = createConnections(
      plainServers(['a:9092', '10.0.0.1:9093', '[::1]:9094', '[2001:db8::7]:9095']),
    );
    expect(brokers().map((broker) => broker.split(':'))).toEqual([
      ['a', '9092'],
      ['10.0.0.1', '9093'],
      ['__1.ipv6-address', '9094'],
      ['2001_db8__7.ipv6-address', '9095'],
    ]);
  });

  // A broker of the cluster's metadata comes with its bare address.
  it.runIf(hasIpv6).each(['named', 'bare'])('lead to an IPv6 address, %s', async (how) => {
    const listening = createServer().listen(0, '::1');
    server = listening;
    await new Promise((resolve) => listening.once('listening', resolve));
    const { port } = listening.address() as { port: number };
    const connections = createConnections(plainServers([`[::1]:${port}`]));
    const host = how === 'bare' ? '::1' : connections.brokers()[0]!.split(':')[0]!;
    await new Promise<void>((onConnect, reject) => {
      const options = { host, port, onConnect } as unknown as Parameters<typeof connections.socketFactory>[0];
      connections.socketFactory(options).once('error', reject);
    });
    connections.close();
  });
});
