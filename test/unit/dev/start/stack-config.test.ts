import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '#service/environment.ts';
import { serviceEnvironment } from '../../../../dev/start/service-environment.ts';
import { readStackConfig } from '../../../../dev/start/stack-config.ts';
import { formatByHand, formatGiven, withoutPassword } from '../../../../dev/start/start-messages.ts';
import { formatLogLines } from '../../../../dev/start/supervised-service.ts';

const problemsOf = (env: Record<string, string>): readonly string[] => {
  try {
    readStackConfig(env, '/repository');
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
};

describe('what npm start runs', () => {
  it('is everything, on the usual ports and below the repository, when nothing is set', () => {
    const config = readStackConfig({}, '/repository');
    expect(config.home).toBe('/repository/.tillstream');
    expect(config.own).toEqual({ orderPostgresPort: 25_431, cartPostgresPort: 25_432, kafkaPort: 29_092 });
    expect(config.services.map(({ name, url }) => `${name} ${url}`)).toEqual([
      'order-api http://127.0.0.1:3001',
      'cdc-reader http://127.0.0.1:3002',
      'cart-sink http://127.0.0.1:3003',
    ]);
    expect(config.connections.ORDER_DATABASE_URL).toBe('postgres://postgres@127.0.0.1:25431/orders');
    expect(config.wantedPorts.map(({ variable }) => variable)).toEqual([
      'ORDER_API_PORT',
      'CDC_READER_PORT',
      'CART_SINK_PORT',
      'ORDER_POSTGRES_PORT',
      'CART_POSTGRES_PORT',
      'KAFKA_PORT',
    ]);
  });

  it('leaves out the servers that are given, and hands them to the services', () => {
    const given = {
      KAFKA_BROKERS: 'one:9092,two:9092',
      CART_DATABASE_URL: 'postgres://me:secret@host/carts',
      TILLSTREAM_HOME: '/elsewhere',
    };
    const config = readStackConfig(given, '/repository');
    expect(config.home).toBe('/elsewhere');
    expect(config.own).toEqual({ orderPostgresPort: 25_431, cartPostgresPort: undefined, kafkaPort: undefined });
    expect(config.wantedPorts.map(({ variable }) => variable)).not.toContain('KAFKA_PORT');
    expect(config.connections).toMatchObject({
      KAFKA_BROKERS: 'one:9092,two:9092',
      CART_DATABASE_URL: given.CART_DATABASE_URL,
    });
  });

  it('gives a service our environment, but host, port, servers and callers as decided here', () => {
    const env = { PORT: '80', HOST: '0.0.0.0', ORDERS_TOPIC: 'mine', AUTH: 'jwt', AUTH_ISSUER: 'https://issuer' };
    const config = readStackConfig(env, '/repository');
    expect(serviceEnvironment(config.services[1]!, env, config)).toMatchObject({
      PORT: '3002',
      HOST: '127.0.0.1',
      ORDERS_TOPIC: 'mine',
      AUTH: '',
      AUTH_ISSUER: '',
      KAFKA_BROKERS: '127.0.0.1:29092',
    });
    expect(config.passedOn).toEqual({ ORDERS_TOPIC: 'mine' });
  });

  const databaseOf = (name: string, env: Record<string, string>) => {
    const config = readStackConfig(env, '/repository');
    const plan = config.services.find((service) => service.name === name)!;
    const { ORDER_DATABASE_URL, CART_DATABASE_URL, MIGRATE } = serviceEnvironment(plan, env, config);
    return { ORDER_DATABASE_URL, CART_DATABASE_URL, MIGRATE };
  };

  it.each([
    ['order-api', { ORDER_DATABASE_URL: 'postgres://order_api@127.0.0.1:25431/orders' }],
    ['cdc-reader', { ORDER_DATABASE_URL: 'postgres://reader@127.0.0.1:25431/orders' }],
    ['cart-sink', { CART_DATABASE_URL: 'postgres://cart_sink@127.0.0.1:25432/carts' }],
  ])('gives %s its own role on a server of its own, no other database, and nothing to migrate', (name, url) => {
    expect(databaseOf(name, { MIGRATE: 'on' })).toEqual({ ...url, MIGRATE: 'off' });
  });

  it('leaves role and migrations to a URL that is given, with one warning', () => {
    const given = { ORDER_DATABASE_URL: 'postgres://me@host/orders' };
    expect(databaseOf('order-api', given)).toEqual(given);
    expect(databaseOf('cart-sink', given)).toMatchObject({ MIGRATE: 'off' });
    expect(formatGiven(readStackConfig({}, '/repository'))).toEqual([]);
    const both = { ...given, CART_DATABASE_URL: 'postgres://me@host/carts' };
    expect(formatGiven(readStackConfig(both, '/repository'))).toEqual([
      expect.stringMatching(/ORDER_DATABASE_URL and CART_DATABASE_URL given/),
    ]);
  });

  it('is refused with every problem at once, those of the services included', () => {
    const problems = problemsOf({ ORDER_API_PORT: '0', CART_DATABASE_URL: 'mysql://host/db', LOG_LEVEL: 'loud' });
    expect(problems.map((problem) => problem.split(':')[0])).toEqual([
      'ORDER_API_PORT',
      'CART_DATABASE_URL',
      'LOG_LEVEL',
    ]);
  });

  it('is refused when two of its parts want the same port', () => {
    expect(problemsOf({ KAFKA_PORT: '3001' })).toEqual(['KAFKA_PORT: 3001 is the port of ORDER_API_PORT too']);
  });
});

describe('what npm start prints', () => {
  it('holds no password', () => {
    expect(withoutPassword('postgres://me:secret@host:5432/db')).toBe('postgres://me:********@host:5432/db');
    expect(withoutPassword('postgres://me@host:5432/db')).toBe('postgres://me@host:5432/db');
    expect(withoutPassword('postgres://host/db?user=me&password=secret&ssl=1')).not.toContain('secret');
    const config = readStackConfig({ ORDER_DATABASE_URL: 'postgresql://me:se:cr%40et@host/db' }, '/repository');
    expect(formatByHand(config)).toContain("ORDER_DATABASE_URL='postgresql://me:********@host/db'");
  });

  it('leads each command and service by hand to its role', () => {
    const lines = formatByHand(readStackConfig({}, '/repository')).split('\n');
    expect(lines[1]).toContain("ORDER_DATABASE_URL='postgres://reader@127.0.0.1:25431/orders'");
    expect(lines[1]).toContain("CART_DATABASE_URL='postgres://migrator@127.0.0.1:25432/carts'");
    expect(lines).toContain(
      "  PORT=0 ORDER_DATABASE_URL='postgres://order_api@127.0.0.1:25431/orders' MIGRATE='off' npm run order-api",
    );
    const given = formatByHand(readStackConfig({ ORDER_DATABASE_URL: 'postgres://me@host/orders' }, '/repository'));
    expect(given.split('\n')).toContain('  PORT=0 npm run order-api');
  });

  it('shortens log lines to time, level, sentence and cause, and keeps what is no log line', () => {
    const log = [
      '{"level":"info","time":"2026-11-23T09:00:00.000Z","msg":"early"}',
      '{"level":"warn","time":"2026-11-23T09:00:01.000Z","msg":"failed","err":{"message":"why"},"more":1}',
      'Segmentation fault',
      '{"half',
      '',
    ].join('\n');
    expect(formatLogLines(log, 3).split('\n')).toEqual([
      '    2026-11-23T09:00:01.000Z warn failed: why',
      '    Segmentation fault',
      '    {"half',
    ]);
  });
});
