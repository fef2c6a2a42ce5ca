// A rolling restart of either API under load, behind a balancer that knows readiness only: no request is refused. The balancer
// keeps connections open, as real ones do, so that a connection which the server closes under a request would show.
import { randomUUIDv7 } from 'node:crypto';
import { Agent, request } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Service } from '../../support/process/service-process.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

/** Several probes of the balancer fit into it, on a busy machine too. */
const SHUTDOWN_DELAY_MS = '2000';
const PROBE_EVERY_MS = 100;

let environment: TestEnvironment;
beforeEach(async () => {
  environment = await createTestEnvironment('rolling_restart');
});
afterEach(() => environment.cleanUp());

const apis = [
  { name: 'order-api', args: [], path: '/orders', body: { userId: 'ada', items: [item()] } },
  { name: 'cart-sink', args: ['--only', 'api'], path: '/carts/ada/lines', body: { sku: 'tea', quantity: 1 } },
] as const;

function item() {
  return { sku: 'tea', quantity: 1, unitPriceCents: 499 };
}

it.each(apis)('$name refuses no request', async ({ name, args, path, body }) => {
  const start = async () => {
    const service = await environment.startService(name, { SHUTDOWN_DELAY_MS }, { args });
    await service.waitReady();
    return service;
  };
  const running = [await start(), await start()];
  const balancer = startBalancer(running, path, body);
  try {
    await balancer.more(50);
    for (const index of [0, 1]) {
      const old = running[index]!;
      const stopped = old.stop();
      await waitFor('the balancer to have left the one that stops', () => !balancer.isUsed(old));
      await balancer.more(50);
      expect((await stopped).code).toBe(0);
      running[index] = await start();
      await waitFor('the balancer to use the new one', () => balancer.isUsed(running[index]!));
      await balancer.more(50);
    }
  } finally {
    await balancer.stop();
  }
  expect(balancer.failures).toEqual([]);
});

/** Eight clients that repeat a request at whichever of `services` was ready at the last probe, and never retry it. */
function startBalancer(services: readonly Service[], path: string, body: object) {
  const agent = new Agent({ keepAlive: true });
  const failures: unknown[] = [];
  let ready: readonly Service[] = [...services];
  let [sent, isOver] = [0, false];
  const probes = setInterval(async () => {
    const found = await Promise.all(
      services.map((service) =>
        service.ready().then(
          ({ status }) => status === 200,
          () => false,
        ),
      ),
    );
    ready = services.filter((_, index) => found[index]);
  }, PROBE_EVERY_MS);
  const clients = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      const service = ready[sent++ % ready.length]!;
      const status = await post(agent, `${service.url}${path}`, body).catch((error) => error);
      if (status !== 201) failures.push(status);
    }
  });
  return {
    failures,
    isUsed: (service: Service) => ready.includes(service),
    more: (count: number) => {
      const target = sent + count;
      return waitFor('more requests', () => sent >= target, { deadlineMs: 30_000 });
    },
    stop: async () => {
      isOver = true;
      clearInterval(probes);
      await Promise.all(clients);
      agent.destroy();
    },
  };
}

function post(agent: Agent, url: string, body: object): Promise<number> {
  const headers = { 'content-type': 'application/json', 'idempotency-key': randomUUIDv7() };
  return new Promise((resolve, reject) => {
    request(url, { method: 'POST', agent, headers }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode!));
    })
      .on('error', reject)
      .end(JSON.stringify(body));
  });
}
