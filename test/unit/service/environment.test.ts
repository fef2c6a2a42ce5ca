import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Variable } from '#service/environment.ts';
import {
  brokers,
  ConfigurationError,
  choice,
  commonVariables,
  integer,
  list,
  onOff,
  optional,
  port,
  readEnvironment,
  secret,
  text,
  topic,
  topicVariables,
} from '#service/environment.ts';
import { postgresUrl } from '#service/postgres/variables.ts';

function readProblems(variables: Record<string, Variable<unknown>>, env: Record<string, string>): readonly string[] {
  try {
    readEnvironment(variables, env);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

test('values are typed, frozen, and fall back where a variable is unset or empty', () => {
  const variables = {
    port: port('PORT', 'Port', '3001'),
    name: text('NAME', 'Name', 'x'),
    brokers: list('BROKERS', 'Brokers'),
    url: optional(postgresUrl('URL', 'Database')),
    migrate: onOff('MIGRATE', 'Migrate', 'on'),
  };
  const config = readEnvironment(variables, { PORT: '', BROKERS: 'a:1, b:2', MIGRATE: 'off', OTHER: 'ignored' });
  expect(config).toEqual({ port: 3001, name: 'x', brokers: ['a:1', 'b:2'], migrate: false });
  expect(config.url).toBeUndefined();
  expect(Object.isFrozen(config)).toBe(true);
  expect(Object.isFrozen(config.brokers)).toBe(true);
});

test('all problems are listed at once, each beginning with its variable, none with a value', () => {
  const variables = {
    url: postgresUrl('ORDER_DATABASE_URL', 'The orders database'),
    other: postgresUrl('CART_DATABASE_URL', 'The carts database'),
    port: port('PORT', 'Port', '3001'),
    brokers: brokers('KAFKA_BROKERS', 'Brokers'),
    level: choice('LOG_LEVEL', 'Level', ['info', 'debug']),
  };
  const env = {
    ORDER_DATABASE_URL: 'postgres//me:secret@host/db',
    PORT: 'secret',
    KAFKA_BROKERS: 'secret',
    LOG_LEVEL: 'secret',
  };
  const problems = readProblems(variables, env);
  expect(problems).toEqual([
    'ORDER_DATABASE_URL: expected a URL like postgres://user:password@host:5432/database',
    'CART_DATABASE_URL is required: The carts database',
    'PORT: expected a whole number from 0 to 65535',
    'KAFKA_BROKERS: expected comma-separated host:port pairs, an IPv6 address in brackets: [::1]:9092',
    'LOG_LEVEL: expected one of info, debug',
  ]);
  expect(new ConfigurationError(problems).message).not.toContain('secret');
  expect(new ConfigurationError(problems).code).toBe('BAD_CONFIGURATION');
});

describe('each kind of variable refuses what it can not use', () => {
  test.each<[string, Variable<unknown>, string[], string[]]>([
    [
      'an integer',
      integer('V', '', { min: -5, max: 10 }),
      ['-5', '10', '0'],
      ['11', '-6', '1.5', '1e1', 'x', '0x1', ' 1'],
    ],
    ['a port', port('V', ''), ['0', '65535'], ['65536', '-1', '80a']],
    [
      'a Postgres URL',
      postgresUrl('V', ''),
      ['postgres://u:p@h:5432/d', 'postgresql://h/d', 'postgres://u@h/d?sslmode=require', 'postgres://[::1]:5/d'],
      ['http://h/d', 'postgres://', 'postgres://h', 'postgres://h/', 'h:5432', 'postgres:///d'],
    ],
    ['a list', list('V', ''), ['a', 'a,b'], ['a,,b', ',', 'a,']],
    [
      'brokers',
      brokers('V', ''),
      ['a:9092', 'a:1,b.c:2', '[::1]:9092', 'a:1 , [fe80::2]:2\n'],
      ['a', 'a:', ':1', 'a:b', 'a b:1', 'a:1,', '::1:9092', '[::g]:1', 'a:0', 'a:65536', 'PLAINTEXT://a:1', 'a/b:1'],
    ],
    ['a topic', topic('V', ''), ['orders.placed', 'a_b-C.1', '...'], ['.', '..', 'a/b', 'a b', 'x'.repeat(250)]],
    ['on and off', onOff('V', ''), ['on', 'off'], ['true', '1', 'ON']],
  ])('%s', (_name, variable, good, bad) => {
    for (const value of good) expect(readProblems({ v: variable }, { V: value }), value).toEqual([]);
    for (const value of bad) expect(readProblems({ v: variable }, { V: value }), value).toHaveLength(1);
  });
});

test('the variables that services share have the defaults of the contract', () => {
  expect(readEnvironment({ ...commonVariables, ...topicVariables }, {})).toMatchObject({
    host: '127.0.0.1',
    logLevel: 'info',
    migrate: true,
    ordersTopic: 'orders.placed',
    replayTopic: 'orders.placed.replay',
  });
});

test('a fallback that its own variable would refuse is found when it is read', () => {
  expect(readProblems({ v: port('V', '', 'x') }, {})).toHaveLength(1);
});

test('a secret may stand in a file, without its line end; both ways, an empty file and one that is missing are problems', () => {
  const directory = mkdtempSync(join(tmpdir(), 'environment-'));
  try {
    const [full, empty] = [join(directory, 'full'), join(directory, 'empty')];
    writeFileSync(full, 'geheim\n\n');
    writeFileSync(empty, '\n');
    const variables = { word: secret('WORD', 'A word'), plain: text('PLAIN', 'No secret', 'x') };
    expect(readEnvironment(variables, { WORD: 'direct', PLAIN_FILE: full })).toMatchObject({ plain: 'x' });
    expect(readEnvironment(variables, { WORD_FILE: full }).word.read()).toBe('geheim\n');
    const problems = (env: Record<string, string>) => readProblems(variables, env);
    expect(problems({ WORD: 'geheim', WORD_FILE: full })).toEqual(['WORD: set either WORD or WORD_FILE, not both']);
    expect(problems({ WORD_FILE: empty })).toEqual(['WORD_FILE: the file that it names is empty']);
    expect(problems({ WORD_FILE: join(directory, 'none') })).toEqual([
      "WORD_FILE: the file that it names can't be read (ENOENT)",
    ]);
    expect(problems({})).toEqual(['WORD is required: A word']);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
