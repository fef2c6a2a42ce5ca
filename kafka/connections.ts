// The sockets of one Kafka client. Guarantees: all of them can be cut at once, since kafkajs's own disconnect waits for
// responses that may never come; IPv6 addresses work, which kafkajs would cut at their first colon; TLS is ours, with the
// certificates of now, and kafkajs sends nothing before the broker's was accepted. What to connect for, and when to cut, is
// left to the clients.

import { connect, isIP, isIPv6, Socket } from 'node:net';
import { connect as connectByTls } from 'node:tls';
import type { ISocketFactory, SASLOptions } from 'kafkajs';
import type { KafkaServers } from './servers.ts';

/** The connections of one client. */
export interface Connections {
  readonly brokers: () => string[];
  readonly socketFactory: ISocketFactory;
  /** How the client logs in, for kafkajs's options. */
  readonly login: { readonly sasl?: SASLOptions; readonly reauthenticationThreshold?: number };
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

/**
 * How long before a session's end (the broker's connections.max.reauth.ms) kafkajs logs in again, at its next request. It
 * must be less than a session: with kafkajs's 10 s, one of 5 s would log in again at every request.
 */
const REAUTHENTICATE_BEFORE_MS = 1_000;

const KEEP_ALIVE_MS = 10_000;

function openSocket(servers: KafkaServers, host: string, port: number, onConnect: () => void): Socket {
  if (servers.tlsOptions === undefined) return connect({ host, port }, onConnect);
  try {
    const servername = isIP(host) === 0 ? { servername: host } : {};
    return connectByTls({ host, port, ...servername, ...servers.tlsOptions() }, onConnect);
  } catch (error) {
    // As an error of the connection its code arrives at the caller; of what is thrown here kafkajs keeps the text only.
    return new Socket().destroy(error as Error);
  }
}

/** Creates the {@link Connections} to `servers`. */
export function createConnections(servers: KafkaServers): Connections {
  const open = new Set<Socket>();
  let closed = false;
  // kafkajs reacts to 'error', not to 'close'.
  const cut = (): void => {
    for (const socket of open) socket.destroy(new Error('this connection was cut'));
  };
  return {
    cut,
    // An empty list is the only answer that kafkajs takes for final.
    brokers: () => (closed ? [] : servers.brokers.map(nameIpv6)),
    login:
      servers.createSasl === undefined
        ? {}
        : { sasl: servers.createSasl(), reauthenticationThreshold: REAUTHENTICATE_BEFORE_MS },
    socketFactory: ({ host: name, port, onConnect }) => {
      if (closed) throw new Error('this client is closed');
      const socket = openSocket(servers, resolveIpv6(name), port, onConnect);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
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
