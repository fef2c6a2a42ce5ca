import { describe, expect, it } from 'vitest';
import { authOf, authVariables } from '#service/auth/variables.ts';
import { ConfigurationError, commonVariables, readEnvironment } from '#service/environment.ts';

function read(env: Record<string, string>) {
  const problems: string[] = [];
  const rules = authOf(readEnvironment({ host: commonVariables.host, ...authVariables }, env), problems);
  if (problems.length > 0) throw new ConfigurationError(problems);
  return rules;
}

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    read(env);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

const jwt = { AUTH: 'jwt', AUTH_ISSUER: 'https://issuer', AUTH_AUDIENCE: 'shop', AUTH_JWKS_URL: 'https://issuer/keys' };

describe('AUTH=none', () => {
  it('is the default, on loopback only', () => {
    for (const HOST of ['127.0.0.1', '127.1.2.3', 'localhost', '::1', '::ffff:127.0.0.1', '']) {
      expect(read({ HOST }), HOST).toBeUndefined();
    }
    for (const HOST of ['0.0.0.0', '::', '10.0.0.1', 'api.internal', 'localhost.evil', '::2', '127.evil']) {
      expect(problemsOf({ HOST }), HOST).toEqual([expect.stringContaining('AUTH_NONE_IS_FINE=yes')]);
    }
  });

  it('is accepted elsewhere by a word', () => {
    expect(read({ HOST: '0.0.0.0', AUTH_NONE_IS_FINE: 'yes' })).toBeUndefined();
    expect(problemsOf({ HOST: '0.0.0.0', AUTH_NONE_IS_FINE: 'true' })).toHaveLength(1);
  });

  it('refuses what it would ignore', () => {
    const { AUTH: _, ...rest } = jwt;
    expect(problemsOf(rest)).toHaveLength(3);
  });
});

describe('AUTH=jwt', () => {
  it('takes an issuer, an audience and one place of keys', () => {
    expect(read({ ...jwt, HOST: '0.0.0.0' })).toEqual({
      keys: { jwksUrl: new URL('https://issuer/keys') },
      issuer: 'https://issuer',
      audience: 'shop',
      clockSkewS: 10,
    });
    expect(read({ ...jwt, AUTH_JWKS_URL: '', AUTH_PUBLIC_KEY_LOCATION: '/key.pem' })).toMatchObject({
      keys: { publicKeyFile: '/key.pem' },
    });
  });

  it('lists all that is missing', () => {
    expect(problemsOf({ AUTH: 'jwt' })).toHaveLength(3);
    expect(problemsOf({ ...jwt, AUTH_PUBLIC_KEY_LOCATION: '/key.pem' })).toHaveLength(1);
  });

  it('fetches keys over HTTPS, over plain HTTP from loopback only, and never with a password', () => {
    for (const AUTH_JWKS_URL of ['http://127.0.0.1:80/keys', 'http://[::1]/keys', 'https://a/b']) {
      expect(problemsOf({ ...jwt, AUTH_JWKS_URL }), AUTH_JWKS_URL).toEqual([]);
    }
    for (const AUTH_JWKS_URL of ['http://issuer/keys', 'issuer', 'file:///keys', 'https://a:secret@b/keys']) {
      const problems = problemsOf({ ...jwt, AUTH_JWKS_URL });
      expect(problems, AUTH_JWKS_URL).toEqual([expect.stringMatching(/^AUTH_JWKS_URL: expected/)]);
      expect(problems.join()).not.toContain('secret');
    }
  });
});
