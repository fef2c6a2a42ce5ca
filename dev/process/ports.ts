// Ports of the local stack. Free ports are taken from below the range that the kernel gives to outgoing connections:
// while a test has a server down, its reconnecting clients could otherwise be given that very port, and the server
// could not come back. A port found free is only probably free a moment later; whoever binds it reports the truth.

import { createServer } from 'node:net';

const lowestPort = 20_000;
const highestPort = 31_999;
const handedOut = new Set<number>();

/** Something else listens on a port that a local server was told to use. */
export class PortTakenError extends Error {
  readonly code = 'port_taken';
  readonly port: number;

  constructor(port: number, what: string) {
    super(
      `Port ${port} on 127.0.0.1, wanted for ${what}, is taken by another program. ` +
        `Stop that program (find it with: ss -ltnp 'sport = :${port}', or lsof -i :${port}) or choose another port.`,
    );
    this.name = 'PortTakenError';
    this.port = port;
  }
}

/** Tells whether nothing listens on `port` of 127.0.0.1 (or of all addresses) right now. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false);
      else reject(error);
    });
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/** Returns a port that nothing listens on and that this process has not been given before. Throws when none is left. */
export async function freePort(): Promise<number> {
  const count = highestPort - lowestPort + 1;
  const start = Math.floor(Math.random() * count);
  for (let step = 0; step < count; step += 1) {
    const port = lowestPort + ((start + step) % count);
    if (handedOut.has(port)) continue;
    handedOut.add(port);
    if (await isPortFree(port)) return port;
  }
  throw new Error(`No free port between ${lowestPort} and ${highestPort} on 127.0.0.1.`);
}

/** Throws a {@link PortTakenError} that names `what` when something listens on `port`. */
export async function requireFreePort(port: number, what: string): Promise<void> {
  if (!(await isPortFree(port))) throw new PortTakenError(port, what);
}
