import { fastify } from 'fastify';
import { describe, expect, it } from 'vitest';
import { refuseForeignPages } from '#service/http/browser-requests.ts';

async function statusOf(
  headers: Record<string, string>,
  { host = '127.0.0.1', allowed, method = 'GET' }: { host?: string; allowed?: string[]; method?: 'GET' | 'POST' } = {},
): Promise<number> {
  const app = fastify();
  refuseForeignPages(app, { host, allowed });
  app.setErrorHandler((error: { problem?: { status: number } }, _request, reply) =>
    reply.code(error.problem?.status ?? 500).send(),
  );
  app.get('/', () => 'x');
  app.post('/', () => 'x');
  return (
    await app.inject({
      method,
      url: '/',
      headers,
      ...(method === 'POST' && 'content-type' in headers && { payload: '{}' }),
    })
  ).statusCode;
}

describe('a name in Host, on loopback,', () => {
  it.each(['localhost', 'LOCALHOST:3001', '127.0.0.1:80', '127.8.8.8', '[::1]:3001', '[::1]'])(
    '%s is its own',
    async (host) => {
      expect(await statusOf({ host })).toBe(200);
    },
  );

  it.each([
    'evil.example',
    '127.0.0.1.evil.example',
    'localhost.evil.example:3001',
    '10.0.0.1',
    'a b',
    '[::2]',
    '@localhost',
  ])('%s is refused', async (host) => {
    expect(await statusOf({ host })).toBe(421);
  });

  it('may be one that an operator has allowed', async () => {
    expect(await statusOf({ host: 'Shop.example:80' }, { allowed: ['shop.Example'] })).toBe(200);
  });

  it('is not checked by a server that listens elsewhere', async () => {
    expect(await statusOf({ host: 'shop.example' }, { host: '0.0.0.0' })).toBe(200);
  });
});

describe('a request that changes something', () => {
  it.each([
    ['JSON', { 'content-type': 'application/json; charset=utf-8', 'sec-fetch-site': 'cross-site' }, 200],
    ['without a body, from no browser', {}, 200],
    ['without a body, from a page of its own', { origin: 'http://localhost', 'sec-fetch-site': 'same-origin' }, 200],
    ['without a body, from another site', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, 415],
    ['without a body, from another port', { 'sec-fetch-site': 'same-site' }, 415],
    ['without a body, from an old browser', { origin: 'null' }, 415],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['text', { 'content-type': 'text/plain' }, 415],
    ['text that names JSON', { 'content-type': 'text/plain; application/json' }, 415],
  ])('%s', async (_what, headers, status) => {
    expect(await statusOf(headers as Record<string, string>, { method: 'POST' })).toBe(status);
    expect(await statusOf(headers as Record<string, string>)).toBe(200);
  });
});
