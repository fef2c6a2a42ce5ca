import { describe, expect, it } from 'vitest';
import { type Caller, openAccess } from '#service/auth/access.ts';
import { guardRoutes, mayAccess } from '#service/auth/ownership.ts';
import { createHttpServer } from '#service/http-server.ts';
import { createMetrics } from '#service/metrics.ts';
import { silent } from '../../../support/postgres/cart-database.ts';

const of = (subject: string, ...scopes: string[]): Caller => ({ kind: 'subject', subject, scopes: new Set(scopes) });

async function createGuardedServer() {
  const readiness = () => ({ ready: true, body: {} });
  const frame = { service: 'test', host: '127.0.0.1', port: 0, logger: silent, metrics: createMetrics('test') };
  const { app } = await createHttpServer({ ...frame, readiness });
  guardRoutes(app, openAccess, async () => undefined);
  return app;
}

describe('ownership', () => {
  it.each([
    ['anyone', { kind: 'anyone' } as Caller, true, true],
    ['the owner', of('ada'), true, true],
    ['another user', of('bob'), false, false],
    ['another case of the name', of('Ada'), false, false],
    ['an operator', of('root', 'operator'), true, false],
    ['who may take payments', of('pay', 'orders:pay'), false, false],
    ['nobody', undefined, false, false],
  ])('of %s', (_who, caller, reads, writes) => {
    expect(mayAccess({ caller, method: 'GET' }, 'ada')).toBe(reads);
    for (const method of ['POST', 'PATCH', 'DELETE']) expect(mayAccess({ caller, method }, 'ada')).toBe(writes);
  });
});

describe('a guarded route', () => {
  it('that does not declare who may call it ends the start', async () => {
    const app = await createGuardedServer();
    expect(() => app.get('/open', () => 'x')).toThrow(/config\.access/);
  });

  it('that declares a named user and names none serves nobody', async () => {
    const app = await createGuardedServer();
    app.get('/nameless', { config: { access: 'named-user' } }, () => 'x');
    expect((await app.inject('/nameless')).statusCode).toBe(500);
  });
});
