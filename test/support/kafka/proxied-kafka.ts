// A Kafka of which the clients see only proxies, for breaking their network while brokers keep talking to each other.
// Ports come first, since each side must know the other's. Tests look past the proxies through `directBootstrap`.

import { freePort } from '../../../dev/process/ports.ts';
import { createLocalKafka, type LocalKafka } from '../../../dev/servers/local-kafka.ts';
import { createTcpProxy, type TcpProxy } from '../network/tcp-proxy.ts';

/** A Kafka whose clients all go through proxies: `proxies[i]` stands before `kafka.brokers[i]`. */
export type ProxiedKafka = {
  readonly kafka: LocalKafka;
  readonly proxies: readonly TcpProxy[];
  /** Ends proxies and brokers at once, without a clean stop. */
  close(): Promise<void>;
};

/** Starts a Kafka that sends its clients to proxies; brokers among themselves, and `directBootstrap`, go past them. */
export async function startProxiedKafka(options: {
  directory: string;
  nodes?: 1 | 3;
  settings?: Record<string, string>;
}): Promise<ProxiedKafka> {
  const advertisedPorts = await Promise.all(Array.from({ length: options.nodes ?? 1 }, freePort));
  const kafka = await createLocalKafka({ ...options, advertisedPorts });
  const proxies = await Promise.all(
    kafka.brokers.map(({ port, advertisedPort }) => createTcpProxy({ targetPort: port, listenPort: advertisedPort })),
  );
  const close = async () => {
    for (const proxy of proxies) proxy.close();
    await kafka.kill();
  };
  try {
    await kafka.start();
  } catch (error) {
    await close();
    throw error;
  }
  return { kafka, proxies, close };
}
