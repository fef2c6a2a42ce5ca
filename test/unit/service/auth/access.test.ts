import { SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Access, createAccess, openAccess } from '#service/auth/access.ts';
import { createMetrics } from '#service/metrics.ts';
import { ProblemError } from '#service/problem.ts';
import { silent } from '../../../support/postgres/cart-database.ts';
import { startTokenIssuer, type TokenIssuer } from '../../../support/security/token-issuer.ts';

let issuer: TokenIssuer;
let access: Access;

beforeEach(async () => {
  issuer = await startTokenIssuer();
  const { jwksUrl, audience } = issuer;
  const rules = { keys: { jwksUrl }, issuer: issuer.issuer, audience, clockSkewS: 10 };
  access = createAccess(rules, { logger: silent, metrics: createMetrics('test') });
});
afterEach(() => issuer.close());

async function refusalOf(authorization: string | undefined): Promise<ProblemError> {
  const refused = await access.identify(authorization).catch((error: unknown) => error);
  if (refused instanceof ProblemError) return refused;
  throw new Error(`expected a refusal of ${authorization}`, { cause: refused });
}

const nowS = () => Math.floor(Date.now() / 1000);
const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('a caller', () => {
  it('is anyone with AUTH=none', async () => {
    expect(await openAccess.identify(undefined)).toEqual({ kind: 'anyone' });
    expect(createAccess(undefined, { logger: silent, metrics: createMetrics('test') })).toBe(openAccess);
  });

  it('is the subject of the token, with its scopes', async () => {
    const token = await issuer.sign('ada', 'orders:pay operator');
    expect(await access.identify(`bearer  ${token}`)).toEqual({
      kind: 'subject',
      subject: 'ada',
      scopes: new Set(['orders:pay', 'operator']),
    });
  });

  it('has no scope where the claim is no text', async () => {
    const caller = await access.identify(`Bearer ${await issuer.sign('ada', '', { scope: ['operator'] })}`);
    expect(caller).toMatchObject({ scopes: new Set() });
  });

  it('may have a clock that differs by the skew', async () => {
    await access.identify(`Bearer ${await issuer.sign('ada', '', { exp: nowS() - 5 })}`);
    await access.identify(`Bearer ${await issuer.sign('ada', '', { nbf: nowS() + 5 })}`);
  });

  it.each([
    ['expired', { exp: 1 }],
    ['without an end', { exp: undefined }],
    ['not valid yet', { nbf: 99_999_999_999 }],
    ['of another issuer', { iss: 'https://else.test' }],
    ['for another audience', { aud: 'else' }],
    ['without a subject', { sub: undefined }],
    ['with a subject that is no text', { sub: 7 }],
  ])('is refused with a token %s', async (_what, over) => {
    const { problem, headers } = await refusalOf(`Bearer ${await issuer.sign('ada', '', over)}`);
    expect(problem.status).toBe(401);
    expect(headers['www-authenticate']).toBe('Bearer error="invalid_token"');
  });

  it('is refused without a token, and with something else than one', async () => {
    const { problem, headers } = await refusalOf(undefined);
    expect(problem.status).toBe(401);
    expect(headers['www-authenticate']).toBe('Bearer');
    const good = await issuer.sign('ada');
    for (const authorization of ['', 'Bearer', 'Basic YTpi', `Bearer ${good} x`, 'Bearer a.b', `Token ${good}`]) {
      expect((await refusalOf(authorization)).problem.status, authorization).toBe(401);
    }
  });

  it('is refused with an unsigned, a changed and a symmetrically signed token, and learns nothing of it', async () => {
    const claims = { iss: issuer.issuer, aud: issuer.audience, sub: 'ada', exp: nowS() + 60 };
    const [header, , signature] = (await issuer.sign('bob')).split('.');
    const { kid } = JSON.parse(Buffer.from(header!, 'base64url').toString());
    const secret = new TextEncoder().encode('a secret of thirty-two characters');
    const tokens = [
      `${encode({ alg: 'none' })}.${encode(claims)}.`,
      `${header}.${encode(claims)}.${signature}`,
      await new SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid }).sign(secret),
      `${encode({ alg: 'ES256', kid: 'unknown' })}.${encode(claims)}.${signature}`,
      `${encode({ alg: 'ES256', kid, crit: ['x'], x: 1 })}.${encode(claims)}.${signature}`,
    ];
    for (const token of tokens) {
      const { problem } = await refusalOf(`Bearer ${token}`);
      expect(problem.status).toBe(401);
      expect(JSON.stringify(problem)).not.toMatch(/ada|jose|JW[KST]|ES256/);
    }
  });

  it('is asked to retry while no key is known', async () => {
    const token = await issuer.sign('ada');
    issuer.fail(true);
    const { jwksUrl, audience } = issuer;
    const rules = { keys: { jwksUrl }, issuer: issuer.issuer, audience, clockSkewS: 0 };
    access = createAccess(rules, { logger: silent, metrics: createMetrics('test') });
    const { problem, headers } = await refusalOf(`Bearer ${token}`);
    expect(problem.status).toBe(503);
    expect(headers['retry-after']).toBe('5');
    issuer.fail(false);
    expect(await access.identify(`Bearer ${token}`)).toMatchObject({ subject: 'ada' });
  });
});
