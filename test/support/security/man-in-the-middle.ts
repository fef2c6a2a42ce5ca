// Someone on the network who answers in place of a Postgres or of a Kafka: with a certificate of his own, and with plain text
// to whoever asks for that. Guarantees: every byte that a client tells him is kept, decrypted; from a client that believes
// him to be a Postgres he asks the password.
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Certificate } from './authority.ts';

export interface ManInTheMiddle {
  readonly port: number;
  /** Handshakes that were begun with him. */
  readonly handshakes: () => number;
  /** What clients told him, beyond the request for TLS. */
  readonly heard: () => Buffer;
  close(): void;
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
/** AuthenticationCleartextPassword. */
const TELL_ME = Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]);
const TLS_HANDSHAKE = 0x16;

export async function startManInTheMiddle(
  what: 'postgres' | 'kafka',
  certificate: Certificate,
): Promise<ManInTheMiddle> {
  const tls = { isServer: true, key: readFileSync(certificate.key), cert: readFileSync(certificate.certificate) };
  const heard: Buffer[] = [];
  const sockets = new Set<Socket>();
  let handshakes = 0;
  const listen = (stream: Socket): void => {
    stream.on('data', (bytes: Buffer) => {
      heard.push(bytes);
      if (what === 'postgres') stream.write(TELL_ME);
    });
    stream.on('error', () => undefined); // the client turned away
  };
  const encrypt = (socket: Socket): void => {
    handshakes += 1;
    listen(new TLSSocket(socket, tls));
  };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    socket.once('data', (first: Buffer) => {
      socket.pause();
      if (first.equals(SSL_REQUEST)) {
        socket.write('S');
        encrypt(socket);
      } else if (first[0] === TLS_HANDSHAKE) {
        socket.unshift(first);
        encrypt(socket);
      } else {
        heard.push(first);
        if (what === 'postgres') socket.write(TELL_ME);
        listen(socket);
        socket.resume();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    handshakes: () => handshakes,
    heard: () => Buffer.concat(heard),
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
