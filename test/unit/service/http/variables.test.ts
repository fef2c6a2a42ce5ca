import { describe, expect, it } from 'vitest';
import { ConfigurationError, commonVariables, port, readEnvironment } from '#service/environment.ts';
import { apiOf, apiVariables } from '#service/http/variables.ts';

const variables = { host: commonVariables.host, port: port('PORT', '', '3001'), ...apiVariables };
const read = (env: Record<string, string>) => apiOf(readEnvironment(variables, env));

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    read(env);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

const elsewhere = { HOST: '0.0.0.0', AUTH_NONE_IS_FINE: 'yes' };

describe('the port for operations', () => {
  it('is that of the API on loopback, and only there', () => {
    expect(read({})).toMatchObject({ tokenRules: undefined, operations: undefined });
    expect(problemsOf(elsewhere)).toEqual([expect.stringMatching(/^OPERATIONS_PORT is required/)]);
  });

  it('has the host of the API, or one of its own', () => {
    const OPERATIONS_PORT = '3101';
    expect(read({ ...elsewhere, OPERATIONS_PORT }).operations).toEqual({ host: '0.0.0.0', port: 3101 });
    expect(read({ ...elsewhere, OPERATIONS_PORT, OPERATIONS_HOST: '127.0.0.1' }).operations).toEqual({
      host: '127.0.0.1',
      port: 3101,
    });
  });

  it('is refused where it is the same, or is named by half', () => {
    expect(problemsOf({ OPERATIONS_PORT: '3001' })).toHaveLength(1);
    expect(problemsOf({ OPERATIONS_HOST: '::1' })).toHaveLength(1);
    expect(problemsOf({ PORT: '0', OPERATIONS_PORT: '0' })).toEqual([]);
  });

  it('is reported together with what is wrong with the callers', () => {
    expect(problemsOf({ HOST: '0.0.0.0' })).toHaveLength(2);
  });
});

describe('the limit of requests', () => {
  const aside = { ...elsewhere, OPERATIONS_PORT: '3101' };

  it('is off on loopback and on elsewhere, unless it is set', () => {
    expect(read({}).requestsPerMinute).toBe(0);
    expect(read(aside).requestsPerMinute).toBe(6_000);
    expect(read({ ...aside, RATE_LIMIT_PER_MINUTE: '0' }).requestsPerMinute).toBe(0);
    expect(read({ RATE_LIMIT_PER_MINUTE: '5' }).requestsPerMinute).toBe(5);
  });

  it('believes proxies that are named by address', () => {
    expect(read({}).trustedProxies).toEqual([]);
    expect(read({ TRUSTED_PROXIES: '10.0.0.0/8, ::1' }).trustedProxies).toEqual(['10.0.0.0/8', '::1']);
    for (const TRUSTED_PROXIES of ['proxy', '10.0.0.0/33', '10.0.0/8', '::1/129', '1.2.3.4/8/8']) {
      expect(problemsOf({ TRUSTED_PROXIES })).toEqual([expect.stringMatching(/^TRUSTED_PROXIES/)]);
    }
  });
});
