import { expect, test } from 'vitest';
import { isDatabaseAway } from '#service/database.ts';

const withCode = (code: string) => Object.assign(new Error('x'), { code });

test.each([
  'ECONNREFUSED',
  'ECONNRESET',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'EADDRNOTAVAIL',
  'EMFILE',
  '57P01',
  '57P02',
  '57P03',
  '53300',
  '53100',
  '57014',
  '55P03',
  '25P03',
  '25006',
  '08006',
  'CONNECTION_POOL:QUEUE_TIMEOUT',
  'DATABASE_ACQUIRE_TIMEOUT',
])('an error with code %s means that the database is away', (code) => {
  expect(isDatabaseAway(withCode(code))).toBe(true);
  expect(isDatabaseAway(new Error('wrapped', { cause: withCode(code) }))).toBe(true);
});

test.each([
  'Connection terminated unexpectedly',
  'Connection terminated',
  'Connection terminated due to connection timeout',
  'Client has encountered a connection error and is not queryable',
  'Query read timeout',
  'timeout expired',
])('the error "%s" means that the database is away', (message) => {
  expect(isDatabaseAway(new Error(message))).toBe(true);
});

test.each(['23505', '22001', '42601', 'P0001', '40001', 'ENOENT', '155P03', ''])(
  'an error with code %j does not',
  (code) => {
    expect(isDatabaseAway(withCode(code))).toBe(false);
  },
);

test('what is no error, and a chain of causes that bites its tail, do not', () => {
  const error = new Error('x');
  error.cause = error;
  for (const thrown of [undefined, null, '57P01', { code: '57P01' }, error]) expect(isDatabaseAway(thrown)).toBe(false);
});
