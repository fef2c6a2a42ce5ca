// The sockets of one Kafka client. Guarantees: all of them can be cut at once, since kafkajs's own disconnect waits for
// responses that may never come. What to connect for, and when to cut, is left to the clients.

import { connect, type Socket } from 'node:net';
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

/** Creates the {@link Connections} to `brokers` (`host:port`). */
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
    brokers: () => (closed ? [] : [...brokers]),
    socketFactory: ({ host, port, onConnect }) => {
      if (closed) throw new Error('this client is closed');
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
