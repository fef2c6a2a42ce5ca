// How many requests a caller may make: by subject, else by address; and the headers that every answer has.
import { afterEach, describe, expect, it } from 'vitest';
import type { Access } from '#service/auth/access.ts';
import { guardRoutes } from '#service/auth/ownership.ts';
import { createRateLimit } from '#service/http/rate-limit.ts';
import { createHttpServer, type HttpServer } from '#service/http-server.ts';
import { createMetrics } from '#service/metrics.ts';
import { ProblemError } from '#service/problem.ts';
import { silent } from '../../../support/postgres/cart-database.ts';

/** The token is the subject; without one the caller is refused, and "anyone" is a caller without a name. */
const access: Access = {
  identify: async (token) => {
    if (token === undefined) throw new ProblemError({ status: 401, title: 'Unauthorized' });
    return token === 'anyone' ? { kind: 'anyone' } : { kind: 'subject', subject: token, scopes: new Set() };
  },
};

let server: HttpServer;
afterEach(() => server.close());

async function createLimited(perMinute: number, trustedProxies: readonly string[] = []) {
  const frame = { service: 'test', host: '127.0.0.1', port: 0, logger: silent, metrics: createMetrics('test') };
  server = await createHttpServer({ ...frame, trustedProxies, readiness: () => ({ ready: true, body: {} }) });
  await server.app.register(async (app) => {
    guardRoutes(app, access, await createRateLimit(app, perMinute));
    app.get('/mine', { config: { access: 'found-user' } }, () => ({ ok: true }));
  });
  return (token: string | undefined, remoteAddress = '10.0.0.1', forwarded?: string) =>
    server.app.inject({
      url: '/mine',
      remoteAddress,
      headers: {
        ...(token !== undefined && { authorization: token }),
        ...(forwarded !== undefined && { 'x-forwarded-for': forwarded }),
      },
    });
}

type Send = Awaited<ReturnType<typeof createLimited>>;
const statusesOf = async (...answers: ReturnType<Send>[]) =>
  (await Promise.all(answers)).map(({ statusCode }) => statusCode);

describe('the limit of requests', () => {
  it('answers with 429 and when to come again, as the other problems, and touches no other caller', async () => {
    const send = await createLimited(2);
    expect(await statusesOf(send('ada'), send('ada', '10.0.0.2'))).toEqual([200, 200]);
    const refused = await send('ada', '10.0.0.3');
    expect(refused.statusCode).toBe(429);
    expect(refused.headers['content-type']).toBe('application/problem+json; charset=utf-8');
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(50);
    expect(refused.json()).toMatchObject({ status: 429, title: 'Too Many Requests' });
    expect(await statusesOf(send('bob'))).toEqual([200]);
  });

  it('counts who has no name by address, refused callers too; a subject is no address', async () => {
    const send = await createLimited(2);
    expect(await statusesOf(send(undefined), send(undefined))).toEqual([401, 401]);
    expect(await statusesOf(send(undefined), send('anyone'))).toEqual([429, 429]);
    expect(await statusesOf(send('anyone', '10.0.0.2'), send('10.0.0.1'), send('address 10.0.0.1'))).toEqual([
      200, 200, 200,
    ]);
    // Whoever has one IPv6 address has its whole network of 64 bits.
    expect(await statusesOf(send('anyone', '2001:db8::1'), send('anyone', '2001:db8::2'))).toEqual([200, 200]);
    expect(await statusesOf(send('anyone', '2001:db8::3'))).toEqual([429]);
  });

  it('believes X-Forwarded-For of a trusted proxy only', async () => {
    const send = await createLimited(1, ['10.0.0.1']);
    expect(await statusesOf(send('anyone', '10.0.0.1', '1.1.1.1'), send('anyone', '10.0.0.1', '2.2.2.2'))).toEqual([
      200, 200,
    ]);
    expect(await statusesOf(send('anyone', '10.0.0.9', '3.3.3.3'))).toEqual([200]);
    expect(await statusesOf(send('anyone', '10.0.0.9', '4.4.4.4'))).toEqual([429]);
  });

  it('does not count health and metrics, and 0 is no limit', async () => {
    const send = await createLimited(1);
    await send('anyone');
    for (let times = 0; times < 3; times += 1) {
      expect((await server.app.inject({ url: '/health/ready', remoteAddress: '10.0.0.1' })).statusCode).toBe(200);
      expect((await server.app.inject({ url: '/metrics', remoteAddress: '10.0.0.1' })).statusCode).toBe(200);
    }
    await server.close();
    const free = await createLimited(0);
    expect(new Set(await statusesOf(...Array.from({ length: 50 }, () => free('ada'))))).toEqual(new Set([200]));
  });
});

describe('a browser that shows an answer', () => {
  it('guesses no type, loads nothing and shows it in no frame, refusals included', async () => {
    const send = await createLimited(0);
    const unnamed = { url: '/mine', headers: { host: 'evil.example', authorization: 'ada' } };
    for (const { headers } of [await send('ada'), await send(undefined), await server.app.inject(unnamed)]) {
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['content-security-policy']).toBe("default-src 'none';frame-ancestors 'none'");
      expect(headers['strict-transport-security']).toBeUndefined();
    }
  });
});
