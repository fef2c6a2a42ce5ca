// A TCP proxy on 127.0.0.1 through which a test breaks the network on purpose: silence (pause), cut connections, refused
// ones, latency, and bytes held back or cut off exactly where a hook says so. It knows no protocol (kafka/frames.ts tells
// Kafka's requests apart for the hooks), and keeps the order of bytes whatever happens (proxy-flow.ts).

import { connect as connectSocket, createServer, type Server, type Socket } from 'node:net';
import { freePort } from '../../../dev/process/ports.ts';
import { createProxyFlow, type ProxyFlow, type ProxyVerdict } from './proxy-flow.ts';

/** One client's connection, as hooks see it. */
type ProxyConnection = {
  readonly id: number;
  /** Bytes received so far from the client, those handed to the hook not included. */
  readonly clientBytes: number;
  readonly serverBytes: number;
  /** Sends on what hooks held back, and stops holding. */
  release(): void;
  cut(): void;
};

/** Decides about a chunk; not called for bytes behind held ones. */
type ProxyHook = (data: Buffer, connection: ProxyConnection) => ProxyVerdict;

export type TcpProxy = {
  readonly port: number;
  readonly connections: readonly ProxyConnection[];
  /** Stops forwarding in both directions; connections stay, and new ones are accepted and silent. */
  pause(): void;
  resume(): void;
  /** Destroys every connection. */
  cut(): void;
  /** Refuses new connections; existing ones go on. */
  refuse(): void;
  accept(): Promise<void>;
  /** Delays every byte in both directions by `delayMs`; 0 ends it. */
  delay(delayMs: number): void;
  /** Calls `hook` with what clients send, in chunks as they arrive; undefined takes it away. */
  onClientData(hook: ProxyHook | undefined): void;
  onServerData(hook: ProxyHook | undefined): void;
  /** Releases what hooks held back on every connection. */
  release(): void;
  close(): void;
};

type Connection = { handle: ProxyConnection; flows: readonly ProxyFlow[] };

/** Listens on `listenPort`, or a free port, and forwards to the target. Throws when the port is taken. */
export async function createTcpProxy(options: {
  targetHost?: string;
  targetPort: number;
  listenPort?: number;
}): Promise<TcpProxy> {
  const { targetHost = '127.0.0.1', targetPort } = options;
  const port = options.listenPort ?? (await freePort());
  const open = new Set<Connection>();
  let onClientData: ProxyHook | undefined;
  let onServerData: ProxyHook | undefined;
  let paused = false;
  let currentDelayMs = 0;
  let lastId = 0;
  let listener: Server | undefined;

  const connect = (client: Socket): void => {
    const server = connectSocket({ host: targetHost, port: targetPort, allowHalfOpen: true });
    const cut = () => {
      client.destroy();
      server.destroy();
    };
    const delayMs = () => currentDelayMs;
    const judgeClient = (data: Buffer) => onClientData?.(data, handle) ?? data;
    const judgeServer = (data: Buffer) => onServerData?.(data, handle) ?? data;
    const up = createProxyFlow({ from: client, to: server, judge: judgeClient, delayMs, cut });
    const down = createProxyFlow({ from: server, to: client, judge: judgeServer, delayMs, cut });
    lastId += 1;
    const handle: ProxyConnection = {
      id: lastId,
      get clientBytes() {
        return up.receivedBytes();
      },
      get serverBytes() {
        return down.receivedBytes();
      },
      release() {
        up.release();
        down.release();
      },
      cut,
    };
    const connection = { handle, flows: [up, down] };
    open.add(connection);
    client.once('close', () => open.delete(connection));
    if (paused) for (const flow of connection.flows) flow.pause();
  };

  const listen = (): Promise<void> =>
    new Promise((resolve, reject) => {
      listener = createServer({ allowHalfOpen: true }, connect).once('error', reject);
      listener.listen({ host: '127.0.0.1', port }, resolve);
    });
  const eachFlow = (act: (flow: ProxyFlow) => void): void => {
    for (const { flows } of [...open]) for (const flow of flows) act(flow);
  };
  const cut = (): void => {
    for (const { handle } of [...open]) handle.cut();
  };
  const refuse = (): void => {
    listener?.close();
    listener = undefined;
  };
  await listen();

  return {
    port,
    get connections() {
      return [...open].map(({ handle }) => handle);
    },
    pause() {
      paused = true;
      eachFlow((flow) => flow.pause());
    },
    resume() {
      paused = false;
      eachFlow((flow) => flow.resume());
    },
    cut,
    refuse,
    async accept() {
      if (listener === undefined) await listen();
    },
    delay(delayMs) {
      currentDelayMs = delayMs;
    },
    onClientData(hook) {
      onClientData = hook;
    },
    onServerData(hook) {
      onServerData = hook;
    },
    release: () => eachFlow((flow) => flow.release()),
    close() {
      refuse();
      cut();
    },
  };
}
