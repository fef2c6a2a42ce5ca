// Who may call what with AUTH=jwt: every operation that the OpenAPI documents of both APIs list, tried by each kind of
// caller. An operation that is in a document and not in the table below fails the test.
import { randomUUIDv7 } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../../dev/process/ports.ts';
import { connectTo } from '../../support/postgres/order-database.ts';
import type { Service } from '../../support/process/service-process.ts';
import { startTokenIssuer, type TokenIssuer } from '../../support/security/token-issuer.ts';
import { createTestEnvironment, type TestEnvironment } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const callers = ['nobody', 'forger', 'other', 'operator', 'payments', 'owner'] as const;
type CallerName = (typeof callers)[number];

const item = { sku: 'tea', quantity: 1, unitPriceCents: 499 };
/** The statuses in the sequence of `callers`. Refusals come first: what the owner may do, they have left undone. */
const table: Readonly<Record<string, readonly [statuses: readonly number[], body?: object]>> = {
  'GET /orders/{orderId}': [[401, 401, 404, 200, 404, 200]],
  'GET /users/{userId}/orders': [[401, 401, 403, 200, 403, 200]],
  'POST /orders': [[401, 401, 403, 403, 403, 201], { userId: 'ada', items: [item] }],
  // A shopper's own word is no payment.
  'POST /orders/{orderId}/payment': [[401, 401, 403, 403, 200, 403]],
  'GET /carts/{userId}': [[401, 401, 403, 200, 403, 200]],
  'POST /carts/{userId}/lines': [[401, 401, 403, 403, 403, 201], { sku: 'tea', quantity: 1 }],
  'PATCH /carts/{userId}/lines/{lineId}': [[401, 401, 403, 403, 403, 200], { quantity: 3 }],
  'DELETE /carts/{userId}/lines/{lineId}': [[401, 401, 403, 403, 403, 204]],
};

let environment: TestEnvironment;
let issuer: TokenIssuer;
let stranger: TokenIssuer;
let services: Service[];
const tokens = {} as Record<CallerName, string | undefined>;
const ids = { userId: 'ada', orderId: '', lineId: '' };

beforeAll(async () => {
  [environment, issuer, stranger] = await Promise.all([
    createTestEnvironment('api_access'),
    startTokenIssuer(),
    startTokenIssuer(),
  ]);
  const auth = {
    AUTH: 'jwt',
    AUTH_JWKS_URL: String(issuer.jwksUrl),
    AUTH_ISSUER: issuer.issuer,
    AUTH_AUDIENCE: issuer.audience,
  };
  services = await Promise.all([
    environment.startService('order-api', auth),
    environment.startService('cart-sink', auth),
  ]);
  await Promise.all(services.map((service) => service.waitReady()));
  Object.assign(tokens, {
    forger: await stranger.sign('ada', 'operator orders:pay'),
    other: await issuer.sign('bob'),
    operator: await issuer.sign('root', 'operator'),
    payments: await issuer.sign('till', 'orders:pay'),
    owner: await issuer.sign('ada'),
  });
  const place = await send(services[0]!, 'owner', 'POST', '/orders', { userId: 'ada', items: [item] });
  const add = await send(services[1]!, 'owner', 'POST', '/carts/ada/lines', { sku: 'pot', quantity: 1 });
  Object.assign(ids, { orderId: await readId(place, 'orderId'), lineId: await readId(add, 'lineId') });
});
afterAll(async () => {
  issuer.close();
  stranger.close();
  await environment.cleanUp();
});

function send({ url }: Service, caller: CallerName, method: string, path: string, body?: object, key?: string) {
  const token = tokens[caller];
  const headers = {
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
    ...(key !== undefined && { 'idempotency-key': key }),
  };
  return fetch(url + path, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) });
}

async function readId(answer: Response, name: 'orderId' | 'lineId'): Promise<string> {
  return ((await answer.json()) as Record<typeof name, string>)[name];
}

interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly tags: readonly string[] }>>>>;
}

async function listOperations({ url }: Service): Promise<string[]> {
  const { paths } = (await (await fetch(`${url}/docs/json`)).json()) as OpenApi;
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { tags }]) => !tags.includes('operations'))
      .map(([method]) => `${method.toUpperCase()} ${path}`),
  );
}

/** Every row of every table of the shop, with the transaction that wrote it. */
async function readStored(): Promise<unknown> {
  const read = async (url: string, tables: readonly string[]) => {
    const client = await connectTo(url);
    try {
      const rows: unknown[] = [];
      for (const name of tables) rows.push((await client.query(`SELECT *, xmin FROM ${name} ORDER BY 1, 2`)).rows);
      return rows;
    } finally {
      await client.end();
    }
  };
  const { ORDER_DATABASE_URL, CART_DATABASE_URL } = environment.env;
  return [await read(ORDER_DATABASE_URL, ['orders', 'order_items']), await read(CART_DATABASE_URL, ['cart_lines'])];
}

describe('with AUTH=jwt', () => {
  it('every operation of both APIs serves whom it should, and refuses the others before anything is stored', async () => {
    const found = await Promise.all(services.map(listOperations));
    expect(found.flat().sort()).toEqual(Object.keys(table).sort());
    for (const [index, service] of services.entries()) {
      for (const operation of found[index]!) {
        const [method, path] = operation.split(' ') as [string, string];
        const [statuses, body] = table[operation]!;
        const target = path.replace(/\{(\w+)\}/g, (_, name: keyof typeof ids) => ids[name]);
        for (const [place, caller] of callers.entries()) {
          const before = await readStored();
          const answer = await send(service, caller, method, target, body);
          expect(answer.status, `${operation} as ${caller}`).toBe(statuses[place]);
          if (answer.ok) continue;
          expect(await readStored(), `${operation} as ${caller}`).toEqual(before);
          expect(answer.headers.get('content-type')).toContain('application/problem+json');
          expect(await answer.text()).not.toContain(ids.lineId);
          if (answer.status === 401) expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer/);
        }
      }
    }
  });

  it('HEAD reveals no more than GET', async () => {
    for (const caller of ['nobody', 'other', 'payments'] as const) {
      expect((await send(services[0]!, caller, 'HEAD', `/orders/${ids.orderId}`)).ok).toBe(false);
      expect((await send(services[1]!, caller, 'HEAD', '/carts/ada')).ok).toBe(false);
    }
  });

  it("an Idempotency-Key is its user's: another's same key is another order", async () => {
    const key = randomUUIDv7();
    const order = (userId: string) => ({ userId, items: [item] });
    const mine = await send(services[0]!, 'owner', 'POST', '/orders', order('ada'), key);
    const theirs = await send(services[0]!, 'other', 'POST', '/orders', order('bob'), key);
    expect([mine.status, theirs.status]).toEqual([201, 201]);
    expect(await readId(mine, 'orderId')).not.toBe(await readId(theirs, 'orderId'));
    expect((await send(services[0]!, 'other', 'POST', '/orders', order('ada'), key)).status).toBe(403);
  });

  it('beyond loopback an API without tokens starts by an explicit word only, and shows operators’ pages elsewhere', async () => {
    const exposed = await environment.startService('order-api', { HOST: '0.0.0.0' });
    expect((await exposed.exited).code).toBe(78);
    const problems = exposed.output.join();
    for (const name of ['AUTH_NONE_IS_FINE=yes', 'OPERATIONS_PORT']) expect(problems).toContain(name);
    const OPERATIONS_PORT = String(await freePort());
    const allowed = { HOST: '0.0.0.0', AUTH_NONE_IS_FINE: 'yes', OPERATIONS_PORT, OPERATIONS_HOST: '127.0.0.1' };
    const service = await environment.startService('order-api', allowed);
    await waitFor('order-api to be ready', async () => {
      return (await fetch(`http://127.0.0.1:${OPERATIONS_PORT}/health/ready`)).ok;
    });
    expect((await fetch(`${service.url}/health/ready`)).status).toBe(404);
    expect((await fetch(`${service.url}/orders/${ids.orderId}`)).status).toBe(200);
  });

  it('health, metrics and the OpenAPI document need no token', async () => {
    for (const { url } of services) {
      for (const path of ['/health/live', '/health/ready', '/metrics', '/docs/json']) {
        expect((await fetch(url + path)).status, url + path).toBe(200);
      }
    }
  });
});
