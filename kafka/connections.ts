// The sockets of one Kafka client. Guarantees: all of them can be cut at once, since kafkajs's own disconnect waits for
// responses that may never come; IPv6 addresses work, which kafkajs would cut at their first colon. What to connect for,
// and when to cut, is left to the clients.

import { connect, isIPv6, type Socket } from 'node:net';
import type { ISocketFactory } from 'kafkajs';

/** The connections of one client. */
export interface Connections {
  readonly brokers: () => string[];
  readonly socketFactory: ISocketFactory;
  /** Cuts every connection; pending requests reject, later ones reconnect. */
  cut(): void;
  /** Cuts every connection for good; pending requests reject, later ones find no broker, so that retries end. */
  close(): void;
}

/** What stands for an IPv6 address in a list of brokers: kafkajs splits `host:port` at the first colon. */
const IPV6_NAME = /^(.+)\.ipv6-address$/;

function nameIpv6(broker: string): string {
  const [, address, port] = /^\[(.+)\]:(\d+)$/.exec(broker) ?? [];
  return address === undefined ? broker : `${address.replaceAll(':', '_')}.ipv6-address:${port}`;
}

function resolveIpv6(host: string): string {
  const address = IPV6_NAME.exec(host)?.[1]?.replaceAll('_', ':');
  return address !== undefined && isIPv6(address) ? address : host;
}

/** Creates the {@link Connections} to `brokers` (`host:port`, `[address]:port`). */
export function createConnections(brokers: readonly string[]): Connections {
  const open = new Set<Socket>();
  let closed = false;
  // kafkajs reacts to 'error', not to 'close'.
  const cut = (): void => {
    for (const socket of open) socket.destroy(new Error('this connection was cut'));
  };
  return {
    cut,
    // An empty list is the only answer that kafkajs takes for final.
    brokers: () => (closed ? [] : brokers.map(nameIpv6)),
    socketFactory: ({ host: name, port, onConnect }) => {
      if (closed) throw new Error('this client is closed');
      const host = resolveIpv6(name);
      const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 }, onConnect);
      open.add(socket);
      socket.once('close', () => open.delete(socket));
      return socket;
    },
    close() {
      closed = true;
      cut();
    },
  };
}
