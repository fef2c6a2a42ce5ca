/**
 * How a connection of `pg` reaches its server, TLS or not: libpq's order of attempts, once for all clients.
 *
 * `pg` knows TLS on and off; `prefer` and `allow` try one and then the other, at any failure before the login is accepted
 * (no TLS at the server, a handshake that fails, a line of pg_hba.conf that wants the other). A client of `pg` can't be used
 * twice, but its connection can: what it holds of the login begins again with the startup packet. Guarantees: nothing but
 * the request for TLS is sent before the server's certificate was checked; bytes that come unencrypted after the answer
 * end the attempt. Leaves to database-server.ts: which mode, and what of the certificate is checked.
 */
import { EventEmitter } from 'node:events';
import { isIP, Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import pg from 'pg';
import { explainTlsFailure, TlsError, type TlsPeer } from '../security/tls-failure.ts';
import type { TlsFile } from '../security/tls-files.ts';
import type { SslMode } from './database-url.ts';

/** In the `ssl` options of a client: how it is to be encrypted. */
export const ENCRYPTION: unique symbol = Symbol('encryption');

export interface Encryption {
  readonly mode: Exclude<SslMode, 'disable'>;
  /** Those of now. @throws TlsFileError */
  readonly tlsOptions: () => ConnectionOptions;
  readonly peer: TlsPeer;
  readonly certificates: readonly TlsFile[];
}

/** What is used of pg's connection beyond its published types. */
interface PgConnection extends EventEmitter {
  stream: Socket;
  _connecting: boolean;
  _ending: boolean;
  readonly _keepAlive: boolean;
  readonly _keepAliveInitialDelayMillis: number;
  readonly ssl: false | { readonly [ENCRYPTION]?: Encryption };
  connect(port: number | string, host?: string): void;
  attachListeners(stream: Socket): void;
  requestSsl(): void;
}

let isInstalled = false;

/** Makes every client of `pg` whose `ssl` has an {@link Encryption} connect by it; others connect as before. */
export function installEncryptedConnections(): void {
  if (isInstalled) return;
  isInstalled = true;
  const prototype = pg.Connection.prototype as unknown as PgConnection;
  const connectPlainly = prototype.connect;
  prototype.connect = function connect(this: PgConnection, port, host): void {
    const encryption = this.ssl === false ? undefined : this.ssl[ENCRYPTION];
    if (encryption === undefined) connectPlainly.call(this, port, host);
    else new EncryptedConnection(this, encryption, { port: Number(port), host: host! }).begin();
  };
}

/** For each mode, what is tried, in order. */
const ATTEMPTS: Readonly<Record<Encryption['mode'], readonly ('tls' | 'plain')[]>> = {
  allow: ['plain', 'tls'],
  prefer: ['tls', 'plain'],
  require: ['tls'],
  'verify-ca': ['tls'],
  'verify-full': ['tls'],
};

class EncryptedConnection {
  readonly #connection: PgConnection;
  readonly #encryption: Encryption;
  readonly #address: { readonly port: number; readonly host: string };
  readonly #left: ('tls' | 'plain')[];
  /** What the attempt before this one failed with. */
  #before: Error | undefined;
  #isLoggedIn = false;
  /** A server that can't be reached is none that TLS or its absence would help with. */
  #isReached = false;

  constructor(connection: PgConnection, encryption: Encryption, address: { port: number; host: string }) {
    this.#connection = connection;
    this.#encryption = encryption;
    this.#address = address;
    this.#left = [...ATTEMPTS[encryption.mode]];
  }

  begin(): void {
    const connection = this.#connection;
    connection._connecting = true;
    // Until the server has accepted the login, its refusal is one of the attempt's.
    connection.emit = (event, ...args) => {
      if (event === 'authenticationOk') {
        this.#isLoggedIn = true;
        Reflect.deleteProperty(connection, 'emit');
      } else if (event === 'errorMessage' && this.#tryAgain(args[0] as Error)) {
        return true;
      }
      return EventEmitter.prototype.emit.call(connection, event, ...args);
    };
    this.#attempt(connection.stream);
  }

  #attempt(socket: Socket): void {
    const connection = this.#connection;
    const how = this.#left.shift()!;
    connection.stream = socket;
    socket.setNoDelay(true);
    this.#watch(socket);
    this.#isReached = false;
    socket.once('connect', () => {
      this.#isReached = true;
      if (connection._keepAlive) socket.setKeepAlive(true, connection._keepAliveInitialDelayMillis);
      if (how === 'plain') {
        this.#startUp(socket);
      } else {
        socket.once('data', (answer: Buffer) => this.#onAnswer(socket, answer));
        connection.requestSsl();
      }
    });
    socket.connect(this.#address.port, this.#address.host);
  }

  /** Failures of `stream` count while it is the connection's. */
  #watch(stream: Socket): void {
    const connection = this.#connection;
    const isCurrent = () => connection.stream === stream;
    stream.on('error', (error: Error & { code?: string }) => {
      if (!isCurrent()) return;
      // As in pg: the end of a connection that we are ending is no failure.
      if (connection._ending && /^(ECONNRESET|EPIPE)$/.test(error.code ?? '')) return;
      this.#fail(this.#isLoggedIn ? error : (explainTlsFailure(error, this.#encryption.peer) as Error));
    });
    // A server that closes ends the stream first; one that we have destroyed is not to come back.
    let isEndedByServer = false;
    stream.once('end', () => {
      isEndedByServer = true;
    });
    stream.on('close', () => {
      if (!isCurrent()) return;
      if (isEndedByServer && this.#tryAgain(new Error('the server closed the connection'))) return;
      connection.emit('end');
    });
  }

  /** The server's one byte: S, N, or E from one that knows no TLS. */
  #onAnswer(socket: Socket, answer: Buffer): void {
    const letter = answer.toString('latin1');
    if (letter === 'S') {
      this.#encrypt(socket);
    } else if (letter === 'N' && this.#left[0] === 'plain') {
      this.#left.shift();
      this.#startUp(socket); // on the same connection, as libpq
    } else {
      const { mode, peer } = this.#encryption;
      const why =
        letter === 'N'
          ? `it has no TLS (ssl = off), and sslmode=${mode} needs it. Nothing was sent to it. Switch TLS on at the server, or ` +
            `choose another sslmode in ${peer.variables.address}`
          : `it did not answer the request for TLS as a Postgres does: check host and port in ${peer.variables.address}`;
      this.#fail(new TlsError({ code: 'TLS_OFF', message: `${peer.server}: ${why}` }));
    }
  }

  #encrypt(socket: Socket): void {
    const { host } = this.#address;
    try {
      const servername = isIP(host) === 0 ? { servername: host } : {};
      const secure = connectTls({ socket, host, ...servername, ...this.#encryption.tlsOptions() });
      this.#connection.stream = secure;
      this.#watch(secure);
      secure.once('secureConnect', () => this.#startUp(secure));
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #startUp(stream: Socket): void {
    this.#connection.attachListeners(stream);
    this.#connection.emit('sslconnect'); // pg sends the startup packet at this
  }

  #fail(error: Error): void {
    if (this.#tryAgain(error)) return;
    if (!this.#isLoggedIn && this.#before !== undefined)
      error.message += ` (the attempt before: ${this.#before.message})`;
    this.#connection.emit('error', error);
    if (!this.#isLoggedIn) this.#connection.stream.destroy();
  }

  /** Begins the next attempt, if there is one and `error` came from a server that was reached. */
  #tryAgain(error: Error): boolean {
    const connection = this.#connection;
    const { stream } = connection;
    if (this.#isLoggedIn || connection._ending || this.#left.length === 0 || !this.#isReached) return false;
    this.#before = error;
    connection.stream = new Socket();
    stream.destroy();
    this.#attempt(connection.stream);
    return true;
  }
}
