// Where Kafka is and how this program proves who it is: what every client of Kafka is made with, kafkajs's and our own.
// Guarantees: passwords, tokens and certificates are read at each use, so that changed ones are in force at the next
// connection or re-authentication. Pure but for those reads. What connects is in connections.ts.

import type { SASLOptions } from 'kafkajs';
import { certificatesOf } from '#service/security/certificate-expiry.ts';
import type { Secret } from '#service/security/secret.ts';
import { readTlsFiles, type TlsFile, type TlsFiles, type TlsMaterial } from '#service/security/tls-files.ts';

export interface KafkaServers {
  /** `host:port`, `[address]:port`. */
  readonly brokers: readonly string[];
  /** Undefined: plain text. @throws TlsFileError */
  readonly tlsOptions?: (() => TlsMaterial) | undefined;
  readonly certificates: readonly TlsFile[];
  /** A new object for each client: kafkajs keeps things in it. */
  readonly createSasl?: (() => SASLOptions) | undefined;
}

export type SaslLogin =
  | {
      readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512';
      readonly username: string;
      readonly password: Secret;
    }
  | { readonly mechanism: 'OAUTHBEARER'; readonly fetchToken: () => Promise<string> };

export function createKafkaServers(options: {
  brokers: readonly string[];
  tls?: TlsFiles | undefined;
  login?: SaslLogin | undefined;
}): KafkaServers {
  const { brokers, tls, login } = options;
  return Object.freeze({
    brokers,
    certificates: tls === undefined ? [] : certificatesOf(tls),
    tlsOptions: tls && (() => readTlsFiles(tls)),
    createSasl: login && (() => createSasl(login)),
  });
}

/** Brokers without TLS and without a login. */
export function plainServers(brokers: readonly string[]): KafkaServers {
  return createKafkaServers({ brokers });
}

function createSasl(login: SaslLogin): SASLOptions {
  if (login.mechanism === 'OAUTHBEARER') {
    return { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: await login.fetchToken() }) };
  }
  const { username, password } = login;
  const mechanism = login.mechanism.toLowerCase() as 'plain' | 'scram-sha-256' | 'scram-sha-512';
  // kafkajs reads it at each authentication.
  const sasl = { mechanism, username } as Record<string, unknown>;
  Object.defineProperty(sasl, 'password', { get: () => password.read(), enumerable: false });
  return sasl as unknown as SASLOptions;
}
