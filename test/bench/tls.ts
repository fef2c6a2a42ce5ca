// What encryption and logins cost: the same servers, with a certificate for the databases and a listener of Kafka over TLS with
// SCRAM, which the services use, and nobody else.
import { chmodSync, chownSync, copyFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalPostgres } from '../../dev/servers/local-postgres.ts';
import { type Authority, createAuthority } from '../support/security/authority.ts';
import { kafkaUser, type SecureKafka, startSecureKafka } from '../support/security/secure-kafka.ts';
import { withServer } from '../support/stack/environment.ts';

const password = 'benchmark';
/** Nobody logs in again while something is measured. */
const sessionMs = 3_600_000;

export interface TlsServers {
  readonly authority: Authority;
  readonly kafka: SecureKafka;
}

/** `directory` is Kafka's. */
export async function startTlsKafka(directory: string, jvmOptions: readonly string[]): Promise<TlsServers> {
  const authority = createAuthority(directory);
  const certificate = authority.sign('127.0.0.1', { names: 'IP:127.0.0.1' });
  return {
    authority,
    kafka: await startSecureKafka({ directory, authority, certificate, password, sessionMs, jvmOptions }),
  };
}

/** Has a running Postgres take TLS connections too. */
export async function offerTls(postgres: LocalPostgres, authority: Authority): Promise<void> {
  const { certificate, key } = authority.sign('127.0.0.1', { names: 'IP:127.0.0.1' });
  const { uid, gid } = statSync(postgres.dataDirectory);
  for (const [from, name] of [
    [certificate, 'server.crt'],
    [key, 'server.key'],
  ] as const) {
    const to = join(postgres.dataDirectory, name);
    copyFileSync(from, to);
    chownSync(to, uid, gid);
    chmodSync(to, 0o600);
  }
  await withServer(postgres.url('postgres'), async (client) => {
    await client.query('ALTER SYSTEM SET ssl = on');
    await client.query('SELECT pg_reload_conf()');
  });
}

/** The environment of a service whose plain one is `env`. */
export function overTls(env: Record<string, string>, { authority, kafka }: TlsServers): Record<string, string> {
  const verified = (url: string) => `${url}?sslmode=verify-full`;
  return {
    ...env,
    ORDER_DATABASE_URL: verified(env.ORDER_DATABASE_URL!),
    ORDER_DATABASE_SSL_CA_LOCATION: authority.ca,
    CART_DATABASE_URL: verified(env.CART_DATABASE_URL!),
    CART_DATABASE_SSL_CA_LOCATION: authority.ca,
    KAFKA_BROKERS: kafka.bootstrap('SCRAM'),
    KAFKA_SECURITY_PROTOCOL: 'SASL_SSL',
    KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
    KAFKA_SASL_USERNAME: kafkaUser,
    KAFKA_SASL_PASSWORD: password,
    KAFKA_SSL_CA_LOCATION: authority.ca,
  };
}
