import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '#service/environment.ts';
import { readOrderApiConfig } from '../../../order-api/config.ts';

const ORDER_DATABASE_URL = 'postgres://orders:secret@db:5432/orders';

const problemsOf = (env: Record<string, string>): readonly string[] => {
  try {
    readOrderApiConfig(env);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
};

describe('the configuration of order-api', () => {
  it('needs nothing but the database', () => {
    expect(readOrderApiConfig({ ORDER_DATABASE_URL })).toMatchObject({
      orderDatabase: { host: 'db' },
      host: '127.0.0.1',
      port: 3001,
      migrate: true,
      publicationName: 'tillstream',
      logLevel: 'info',
    });
  });

  it('is frozen', () => {
    expect(Object.isFrozen(readOrderApiConfig({ ORDER_DATABASE_URL }))).toBe(true);
  });

  it('reports all problems at once and repeats no value', () => {
    const problems = problemsOf({
      ORDER_DATABASE_URL: 'secret',
      PORT: '65536',
      MIGRATE: 'yes',
      PUBLICATION_NAME: "x'; drop",
      ORDER_DATABASE_POOL_SIZE: '0',
    });
    expect(problems.map((problem) => problem.split(':')[0])).toEqual(
      expect.arrayContaining(['ORDER_DATABASE_URL', 'PORT', 'MIGRATE', 'PUBLICATION_NAME', 'ORDER_DATABASE_POOL_SIZE']),
    );
    expect(problems.join()).not.toContain('secret');
    expect(problems.join()).not.toContain('drop');
  });

  it('refuses a lock timeout that could never strike before the statement timeout', () => {
    const limits = { ORDER_DATABASE_LOCK_TIMEOUT_MS: '5000', ORDER_DATABASE_STATEMENT_TIMEOUT_MS: '5000' };
    expect(problemsOf({ ORDER_DATABASE_URL, ...limits })).toEqual([
      expect.stringContaining('ORDER_DATABASE_LOCK_TIMEOUT_MS'),
    ]);
    expect(problemsOf({ ORDER_DATABASE_URL, ...limits, ORDER_DATABASE_LOCK_TIMEOUT_MS: '4999' })).toEqual([]);
  });

  it('refuses a publication name that would need quoting', () => {
    for (const name of ['Tillstream', '1st', 'a-b', 'a b', 'ä', 'a'.repeat(64)]) {
      expect(problemsOf({ ORDER_DATABASE_URL, PUBLICATION_NAME: name }), name).toHaveLength(1);
    }
    expect(readOrderApiConfig({ ORDER_DATABASE_URL, PUBLICATION_NAME: 'tills_2' }).publicationName).toBe('tills_2');
  });
});
