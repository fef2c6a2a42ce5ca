import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportSPKI, generateKeyPair, jwtVerify, SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTokenKeys, KeysUnavailableError, type TokenKeys } from '#service/auth/keys.ts';
import { createMetrics, type Metrics } from '#service/metrics.ts';
import { silent } from '../../../support/postgres/cart-database.ts';
import { startTokenIssuer, type TokenIssuer } from '../../../support/security/token-issuer.ts';

const verify = (token: string, keys: TokenKeys) => jwtVerify(token, keys.find, { algorithms: keys.algorithms() });

describe('a published set of keys', () => {
  let issuer: TokenIssuer;
  let metrics: Metrics;
  const open = (cooldownMs: number) =>
    createTokenKeys({ jwksUrl: issuer.jwksUrl }, { logger: silent, metrics, cooldownMs });

  beforeEach(async () => {
    issuer = await startTokenIssuer();
    metrics = createMetrics('test');
  });
  afterEach(() => issuer.close());

  it('is fetched once for many tokens', async () => {
    const keys = open(60_000);
    const token = await issuer.sign('ada');
    await Promise.all(Array.from({ length: 20 }, () => verify(token, keys)));
    expect(issuer.fetches()).toBe(1);
  });

  it('is fetched again for a key that it does not have, and forgets what was withdrawn', async () => {
    const keys = open(0);
    const before = await issuer.sign('ada');
    await verify(before, keys);
    await issuer.rotate('kept');
    await verify(await issuer.sign('ada'), keys);
    await verify(before, keys);
    await issuer.rotate('withdrawn');
    await verify(await issuer.sign('ada'), keys);
    await expect(verify(before, keys)).rejects.toMatchObject({ code: 'ERR_JWKS_NO_MATCHING_KEY' });
  });

  it('is not fetched again and again for invented keys', async () => {
    const keys = open(60_000);
    await verify(await issuer.sign('ada'), keys);
    await issuer.rotate('withdrawn');
    const unknown = await issuer.sign('ada');
    for (let time = 0; time < 5; time++) {
      await expect(verify(unknown, keys)).rejects.toMatchObject({ code: 'ERR_JWKS_NO_MATCHING_KEY' });
    }
    expect(issuer.fetches()).toBe(1);
  });

  it('goes on while the issuer is away, and the metric shows that it is', async () => {
    const keys = open(0);
    const known = await issuer.sign('ada');
    await verify(known, keys);
    issuer.fail(true);
    await issuer.rotate('kept');
    await expect(verify(await issuer.sign('ada'), keys)).rejects.toThrow(KeysUnavailableError);
    await verify(known, keys);
    expect(await metrics.render()).toMatch(/^tillstream_auth_keys_away\S* 1$/m);
  });
});

describe('a key in a file', () => {
  const path = join(tmpdir(), `tillstream-key-${process.pid}.pem`);
  afterEach(() => rmSync(path, { force: true }));
  const open = () => createTokenKeys({ publicKeyFile: path }, { logger: silent, metrics: createMetrics('test') });
  const sign = (alg: string, key: CryptoKey) => new SignJWT({ sub: 'ada' }).setProtectedHeader({ alg }).sign(key);

  it.each(['RS256', 'PS512', 'ES256', 'ES384', 'EdDSA'])('is taken for %s', async (alg) => {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    writeFileSync(path, await exportSPKI(publicKey));
    await verify(await sign(alg, privateKey), open());
  });

  it('refuses an algorithm of other keys', async () => {
    const { publicKey } = await generateKeyPair('RS256', { extractable: true });
    writeFileSync(path, await exportSPKI(publicKey));
    const other = await generateKeyPair('ES256');
    await expect(verify(await sign('ES256', other.privateKey), open())).rejects.toMatchObject({
      code: 'ERR_JOSE_ALG_NOT_ALLOWED',
    });
  });

  it('is read again when it changes, and named when it is gone', async () => {
    const [first, second] = [await generateKeyPair('ES256'), await generateKeyPair('ES256')];
    writeFileSync(path, await exportSPKI(first.publicKey));
    const keys = open();
    const token = await sign('ES256', second.privateKey);
    await expect(verify(token, keys)).rejects.toMatchObject({ code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' });
    writeFileSync(path, await exportSPKI(second.publicKey));
    await verify(token, keys);
    writeFileSync(path, 'no key');
    await expect(async () => verify(token, keys)).rejects.toThrow(/^AUTH_PUBLIC_KEY_LOCATION/);
  });
});
