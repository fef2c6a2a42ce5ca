// A Kafka with a listener for each way to prove oneself, access lists in force and short sessions. Guarantees: the listener
// INTERNAL is plain and its clients may do everything, for setting up and cleaning up. Who is granted what is left to tests.
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../../dev/process/ports.ts';
import { createLocalKafka, type LocalKafka } from '../../../dev/servers/local-kafka.ts';
import type { Authority, Certificate } from './authority.ts';

const listeners = {
  INTERNAL: 'PLAINTEXT',
  CONTROLLER: 'PLAINTEXT',
  MTLS: 'SSL',
  SCRAM: 'SASL_SSL',
  PASSWORD: 'SASL_SSL',
  OAUTH: 'SASL_SSL',
  CLEAR: 'SASL_PLAINTEXT',
  /** Its certificate has expired. */
  EXPIRED: 'SSL',
} as const;
type Listener = Exclude<keyof typeof listeners, 'CONTROLLER'>;

export interface SecureKafka {
  readonly kafka: LocalKafka;
  /** `host:port` of a listener. */
  bootstrap(listener: Listener): string;
  close(): Promise<void>;
}

export const kafkaUser = 'orders-service';
/** Has the same password and no grant. */
export const kafkaGuest = 'guest';
const login = (module: string, more = '') => `org.apache.kafka.common.security.${module} required${more};`;

/** `password` is that of {@link kafkaUser}, by PLAIN and SCRAM; `sessionMs` is connections.max.reauth.ms. */
export async function startSecureKafka(options: {
  directory: string;
  authority: Authority;
  certificate: Certificate;
  password: string;
  sessionMs: number;
  /** Further users of SCRAM with the same password and no grant. */
  users?: readonly string[];
  jvmOptions?: readonly string[];
}): Promise<SecureKafka> {
  const { directory, authority, certificate, password, sessionMs, users = [], jvmOptions } = options;
  const names = Object.keys(listeners) as (keyof typeof listeners)[];
  const ports = new Map<string, number>();
  for (const name of names) ports.set(name, await freePort());
  const address = (name: string) => `${name}://127.0.0.1:${ports.get(name)}`;
  const writeStore = (name: string, from: Certificate): string => {
    const store = join(directory, name);
    writeFileSync(store, readFileSync(from.key, 'utf8') + readFileSync(from.certificate, 'utf8'));
    return store;
  };
  const trust = join(directory, 'broker-trust.pem');
  copyFileSync(authority.ca, trust);
  const scram = Object.fromEntries(
    ['scram', 'clear'].flatMap((listener) =>
      ['scram-sha-256', 'scram-sha-512'].map((mechanism) => [
        `listener.name.${listener}.${mechanism}.sasl.jaas.config`,
        login('scram.ScramLoginModule'),
      ]),
    ),
  );
  const plain = login('plain.PlainLoginModule', ` user_${kafkaUser}="${password}"`);
  const kafka = await createLocalKafka({
    directory: join(directory, 'kafka'),
    ...(jvmOptions && { jvmOptions }),
    formatArguments: ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) =>
      [kafkaUser, kafkaGuest, ...users].map((user) => `--add-scram=${mechanism}=[name=${user},password=${password}]`),
    ),
    settings: {
      listeners: names.map(address).join(','),
      'advertised.listeners': names
        .filter((name) => name !== 'CONTROLLER')
        .map(address)
        .join(','),
      'listener.security.protocol.map': Object.entries(listeners)
        .map(([name, protocol]) => `${name}:${protocol}`)
        .join(','),
      'controller.quorum.voters': `1@127.0.0.1:${ports.get('CONTROLLER')}`,
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': `User:ANONYMOUS;User:${kafkaUser};User:CN=${kafkaUser}`,
      'connections.max.reauth.ms': String(sessionMs),
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.location': writeStore('broker.pem', certificate),
      'listener.name.expired.ssl.keystore.type': 'PEM',
      'listener.name.expired.ssl.keystore.location': writeStore(
        'expired.pem',
        authority.sign('127.0.0.1', { names: 'IP:127.0.0.1', days: -1 }),
      ),
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': trust,
      'listener.name.mtls.ssl.client.auth': 'required',
      'listener.name.scram.sasl.enabled.mechanisms': 'SCRAM-SHA-256,SCRAM-SHA-512',
      'listener.name.clear.sasl.enabled.mechanisms': 'SCRAM-SHA-256,SCRAM-SHA-512,PLAIN',
      'listener.name.password.sasl.enabled.mechanisms': 'PLAIN',
      'listener.name.oauth.sasl.enabled.mechanisms': 'OAUTHBEARER',
      ...scram,
      'listener.name.password.plain.sasl.jaas.config': plain,
      'listener.name.clear.plain.sasl.jaas.config': plain,
      'listener.name.oauth.oauthbearer.sasl.jaas.config': login(
        'oauthbearer.OAuthBearerLoginModule',
        ' unsecuredLoginStringClaim_sub="broker"',
      ),
    },
  });
  await kafka.start();
  return {
    kafka,
    bootstrap: (listener) => `127.0.0.1:${ports.get(listener)}`,
    close: () => kafka.kill(),
  };
}
