// The table of failures is complete: every class of SQLSTATE, every errno of this system, and what TLS reports.
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  classifyFailure,
  isDatabaseAway,
  isTransactionConflict,
  sqlStates,
  systemErrors,
  WaitingError,
} from '#service/failure.ts';

const withCode = (code: string, message = 'x') => Object.assign(new Error(message), { code });

/** The classes of Postgres 18, Appendix A. */
const SQLSTATE_CLASSES =
  '00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 40 42 44 53 54 55 57 58 F0 HV P0 XX';

describe('the table', () => {
  it('has every class of SQLSTATE', () => {
    expect(SQLSTATE_CLASSES.split(' ').filter((name) => sqlStates[name] === undefined)).toEqual([]);
  });

  it('has every errno of this system', () => {
    const names = [...Object.keys(constants.errno), ...[...getSystemErrorMap().values()].map(([name]) => name)];
    expect(names.length).toBeGreaterThan(80);
    expect(names.filter((name) => systemErrors[name] === undefined)).toEqual([]);
  });

  it('has a remedy for whatever waits', () => {
    const rows = [...Object.values(sqlStates), ...Object.values(systemErrors)].filter((row) => typeof row !== 'string');
    for (const [name, remedy] of rows) {
      expect(name).toMatch(/^[A-Z][A-Z0-9_]+$/);
      expect(remedy).toMatch(/^[A-Z].+\.$/);
    }
  });
});

describe('a failure', () => {
  it.each([
    ...['08006', '25P03', '25006', '40001', '40P01', '53300', '55P03', '55006', '57014', '57P01', '57P02', '57P03'],
    ...['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EPIPE', 'EADDRNOTAVAIL', 'EMFILE'],
    ...['CONNECTION_POOL:QUEUE_TIMEOUT', 'DATABASE_ACQUIRE_TIMEOUT'],
  ])('%s is transient', (code) => {
    expect(classifyFailure(withCode(code)).kind).toBe('transient');
  });

  it.each([
    ['28P01', 'DATABASE_AUTHENTICATION'],
    ['28000', 'DATABASE_AUTHENTICATION'],
    ['3D000', 'DATABASE_MISSING'],
    ['57P04', 'DATABASE_MISSING'],
    ['42P01', 'TABLES_MISSING'],
    ['42501', 'DATABASE_PRIVILEGE'],
    ['53100', 'DISK_FULL'],
    ['08P01', 'DATABASE_PROTOCOL'],
    ['58030', 'DATABASE_DAMAGED'],
    ['XX001', 'DATABASE_DAMAGED'],
    ['ENOSPC', 'DISK_FULL'],
    ['EROFS', 'FILE_ACCESS'],
    ['ENOENT', 'FILE_ACCESS'],
    ['CERT_HAS_EXPIRED', 'TLS_CERTIFICATE'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'TLS_CERTIFICATE'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'TLS_CERTIFICATE'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'TLS_CERTIFICATE'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'TLS_HANDSHAKE'],
    ['EPROTO', 'TLS_HANDSHAKE'],
  ])('%s waits as %s', (code, name) => {
    expect(classifyFailure(withCode(code))).toMatchObject({ kind: 'waiting', name });
  });

  it.each(['23505', '22001', '42601', 'P0001', 'XX000', '155P03', 'EINVAL', ''])('%j is unknown', (code) => {
    expect(classifyFailure(withCode(code)).kind).toBe('unknown');
  });

  it.each([
    'Connection terminated unexpectedly',
    'Connection terminated',
    'Connection terminated due to connection timeout',
    'Client has encountered a connection error and is not queryable',
    'Query read timeout',
    'timeout expired',
  ])('with the words "%s" and no code is transient', (message) => {
    expect(classifyFailure(new Error(message)).kind).toBe('transient');
  });

  it('is found in the causes of an error, and in the first of several', () => {
    const inside = new Error('outside', { cause: new Error('between', { cause: withCode('28P01') }) });
    expect(classifyFailure(inside)).toMatchObject({ kind: 'waiting', name: 'DATABASE_AUTHENTICATION' });
    expect(classifyFailure(new AggregateError([withCode('ECONNREFUSED'), withCode('x')])).kind).toBe('transient');
  });

  it('of TLS is found in the message, where kafkajs has it', () => {
    expect(classifyFailure(new Error('Connection error: CERT_HAS_EXPIRED'))).toMatchObject({ name: 'TLS_CERTIFICATE' });
    const noPassword = new Error('SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a non-empty string');
    expect(classifyFailure(noPassword)).toMatchObject({ kind: 'waiting', name: 'DATABASE_AUTHENTICATION' });
  });

  it('that names itself waits under its own code', () => {
    class SpillRefusedError extends WaitingError {
      readonly code = 'SPILL_REFUSED';
    }
    expect(classifyFailure(new Error('x', { cause: new SpillRefusedError('x') }))).toMatchObject({
      kind: 'waiting',
      name: 'SPILL_REFUSED',
    });
  });

  it('that is no error, or a chain of causes that bites its tail, is unknown', () => {
    const error = new Error('x');
    error.cause = error;
    for (const thrown of [undefined, null, '57P01', { code: '57P01' }, error]) {
      expect(classifyFailure(thrown)).toEqual({ kind: 'unknown' });
    }
  });
});

describe('for a request', () => {
  it('a database that is away, full or misconfigured is unavailable; a conflict and a wrong statement are not', () => {
    for (const code of ['57P01', 'ECONNREFUSED', '28P01', '53100', '42P01'])
      expect(isDatabaseAway(withCode(code))).toBe(true);
    for (const code of ['23505', '42601', '40001', '40P01']) expect(isDatabaseAway(withCode(code))).toBe(false);
  });

  it('a serialization failure and a deadlock are conflicts', () => {
    expect(['40001', '40P01', '23505'].map((code) => isTransactionConflict(withCode(code)))).toEqual([
      true,
      true,
      false,
    ]);
  });
});
