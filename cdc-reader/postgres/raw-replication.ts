// The library in the only shape in which it loses nothing: no acknowledging of its own (it confirms what was received,
// not what was processed), no flow control (it continues after errors), none of its parsers (they lose digits), and started
// by a command of ours (its own does not quote names), over a client of ours. What is left to it is the connection's life,
// and the writing of status updates.
import type { Socket } from 'node:net';
import pg from 'pg';
import { LogicalReplicationService, PgoutputPlugin } from 'pg-logical-replication';

/** What pg's connection offers beyond its published types. */
export interface WalSenderConnection extends NodeJS.EventEmitter {
  readonly stream: Socket;
  endCopyFrom(): void;
}

/**
 * The service for one connection; subscribing it twice would start where it last received, not where we are.
 *
 * It connects with a client of ours: the library's own `client()` listens for errors only once it has connected, and the FATAL of a
 * server that shuts down may come in one read with the end of the handshake. Without a listener the process would end.
 */
export function createRawService(config: pg.ClientConfig): LogicalReplicationService {
  const service = new LogicalReplicationService(config, {
    acknowledge: { auto: false, timeoutSeconds: 0 },
    flowControl: { enabled: false },
  });
  const library = service as unknown as LibraryConnecting;
  library.client = async () => {
    const client = new pg.Client(config);
    client.on('error', (error) => service.emit('error', error));
    library._client = client;
    await client.connect();
    library._connection = connectionOf(client);
    return [client, library._connection];
  };
  return service;
}

/** What the library keeps of its connection, and ends in `stop()`. */
interface LibraryConnecting {
  client: () => Promise<[pg.Client, WalSenderConnection]>;
  _client: pg.Client | null;
  _connection: WalSenderConnection | null;
}

/** Starts the stream by a command of ours. Nothing is left to parse: see copy-stream.ts. */
export class RawPgoutput extends PgoutputPlugin {
  readonly #startStream: (client: pg.Client) => Promise<unknown>;

  constructor(startStream: (client: pg.Client) => Promise<unknown>) {
    super({ protoVersion: 1, publicationNames: [] });
    this.#startStream = startStream;
  }

  override start(client: pg.Client): Promise<unknown> {
    return this.#startStream(client);
  }
}

/** pg's connection of a client, which carries the socket. */
export function connectionOf(client: pg.Client): WalSenderConnection {
  return (client as unknown as { connection: WalSenderConnection }).connection;
}

/** A server that is alive ends a session in milliseconds; a silent one must not hold up the next start (I8). */
export const END_LIMIT_MS = 1_000;

/** Ends the client's session, or cuts its connection when the server does not respond in time. */
export async function endSession(client: pg.Client): Promise<void> {
  const limit = setTimeout(() => connectionOf(client).stream.destroy(), END_LIMIT_MS);
  try {
    await client.end();
  } finally {
    clearTimeout(limit);
  }
}
