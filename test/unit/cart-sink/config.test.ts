import { describe, expect, it } from 'vitest';
import { readCartSinkConfig } from '../../../cart-sink/config.ts';

describe('the configuration', () => {
  const required = { CART_DATABASE_URL: 'postgres://u:p@127.0.0.1:5432/carts' };

  it('keeps every time limit of a database session below the session of the group', () => {
    for (const sessionTimeoutMs of [2_000, 6_000, 10_000, 45_000]) {
      const config = readCartSinkConfig({ ...required, SESSION_TIMEOUT_MS: String(sessionTimeoutMs) });
      expect(config.idleInTransactionTimeoutMs).toBeLessThan(sessionTimeoutMs);
      expect(config.lockTimeoutMs).toBeLessThan(sessionTimeoutMs);
      expect(config.statementTimeoutMs).toBeLessThan(sessionTimeoutMs);
      expect(config.heartbeatIntervalMs).toBeLessThanOrEqual(sessionTimeoutMs / 3);
    }
  });

  it('refuses a replay topic that is the live topic', () => {
    expect(() => readCartSinkConfig({ ...required, ORDERS_TOPIC: 'one', REPLAY_TOPIC: 'one' })).toThrow(/REPLAY_TOPIC/);
  });

  it('asks who may call, and for a port for operations, only where there is an API', () => {
    const elsewhere = { ...required, HOST: '0.0.0.0' };
    expect(() => readCartSinkConfig(elsewhere)).toThrow(/AUTH.*OPERATIONS_PORT/s);
    expect(readCartSinkConfig(elsewhere, { api: false })).toMatchObject({ host: '0.0.0.0', port: 3003 });
    const aside = { ...elsewhere, OPERATIONS_PORT: '3103', OPERATIONS_HOST: '127.0.0.1' };
    expect(readCartSinkConfig(aside, { api: false })).toMatchObject({
      host: '127.0.0.1',
      port: 3103,
      operations: undefined,
    });
  });

  it('lists all problems at once', () => {
    const read = () => readCartSinkConfig({ PORT: 'x', SESSION_TIMEOUT_MS: '1' });
    for (const name of ['CART_DATABASE_URL', 'PORT', 'SESSION_TIMEOUT_MS']) expect(read).toThrow(name);
  });
});
