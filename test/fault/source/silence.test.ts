// The network between the reader and the orders database falls silent: connections neither answer nor end, for longer
// than anybody waits. The reader goes on within seconds of the end, whether its old connections come alive again or are
// dead for good, as behind a firewall that has forgotten them (I8; faults D).
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTcpProxy, type TcpProxy } from '../../support/network/tcp-proxy.ts';
import type { Service } from '../../support/process/service-process.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';

/** Noticing takes the reader some 6 s, letting go at most 1 s a connection; one that waited for the dead took half a minute more. */
const DRAIN_DEADLINE_MS = 20_000;

describe('a silent network before the orders database', () => {
  let stage: PipelineStage;
  let proxy: TcpProxy;
  let reader: Service;

  beforeEach(async () => {
    stage = await createPipelineStage('silence');
    const url = new URL(stage.environment.env.ORDER_DATABASE_URL);
    proxy = await createTcpProxy({ targetPort: Number(url.port) });
    url.port = String(proxy.port);
    reader = await stage.startStreaming({ more: { ORDER_DATABASE_URL: url.href } });
    await stage.load.pace({ first: 0, count: 50, ordersPerSecond: 100 });
  });
  afterEach(async () => {
    proxy.close();
    await stage.cleanUp();
  });

  const requireRecovered = async (what: string, sinceMs: number): Promise<void> => {
    await stage.requireClean(DRAIN_DEADLINE_MS);
    console.info(`${what}: published ${Math.round(performance.now() - sinceMs)} ms later`);
    expect(reader.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
  };

  it.each([3, 35])('that ends after %i s, with the connections that were there', async (seconds) => {
    proxy.pause();
    // Orders are placed all the while, past the silence.
    await stage.load.pace({ first: 50, count: seconds * 10, ordersPerSecond: 10 });
    proxy.resume();
    await requireRecovered(`silence of ${seconds} s`, performance.now());
  });

  it('that is the end of the connections that were there', async () => {
    const dead = new Set(proxy.connections.map(({ id }) => id));
    proxy.onClientData((data, { id }) => (dead.has(id) ? 'hold' : data));
    proxy.onServerData((data, { id }) => (dead.has(id) ? 'hold' : data));
    const sinceMs = performance.now();
    await stage.load.pace({ first: 50, count: 50, ordersPerSecond: 10 });
    await requireRecovered('connections dead for good', sinceMs);
  });
});
