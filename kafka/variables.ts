// The environment variables of Kafka, under librdkafka's names (sasl.mechanism is KAFKA_SASL_MECHANISM), and what is made of
// them. Guarantees: what contradicts itself, or would send a password in the clear without leave, is a problem of the
// configuration. What the parts mean for a connection is in servers.ts.

import {
  brokers as brokerList,
  ConfigurationError,
  optional,
  secret,
  text,
  type Variable,
} from '#service/environment.ts';
import type { Secret } from '#service/security/secret.ts';
import { type TlsFile, TlsFileError, type TlsFiles } from '#service/security/tls-files.ts';
import { createTokenSource } from './oauth-token.ts';
import { createKafkaServers, type KafkaServers, type SaslLogin } from './servers.ts';

/** Chosen whatever the case of the letters is: librdkafka writes small ones, Kafka capitals. */
function word<const C extends string>(name: string, description: string, words: readonly C[]): Variable<C> {
  return {
    name,
    description,
    parse: (value) => {
      const chosen = words.find((one) => one.toLowerCase() === value.toLowerCase());
      if (chosen === undefined) throw new Error(`expected one of ${words.join(', ')}`);
      return chosen;
    },
  };
}

const protocols = ['plaintext', 'ssl', 'sasl_plaintext', 'sasl_ssl'] as const;
const mechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512', 'OAUTHBEARER'] as const;
const file = (name: string, description: string) => optional(text(name, description));

export const kafkaVariables = {
  kafkaBrokers: brokerList('KAFKA_BROKERS', 'Kafka brokers, comma-separated host:port pairs', '127.0.0.1:9092'),
  kafkaSecurityProtocol: {
    ...word('KAFKA_SECURITY_PROTOCOL', `TLS and login: ${protocols.join(', ')}`, protocols),
    fallback: 'plaintext',
  },
  kafkaSaslMechanism: optional(word('KAFKA_SASL_MECHANISM', `How to log in: ${mechanisms.join(', ')}`, mechanisms)),
  kafkaSaslUsername: file('KAFKA_SASL_USERNAME', 'User of PLAIN and SCRAM'),
  kafkaSaslPassword: optional(secret('KAFKA_SASL_PASSWORD', 'That user’s password')),
  kafkaTokenUrl: file(
    'KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL',
    'Where OAUTHBEARER fetches tokens (client credentials)',
  ),
  kafkaTokenClientId: file('KAFKA_SASL_OAUTHBEARER_CLIENT_ID', 'The client’s id there'),
  kafkaTokenClientSecret: optional(secret('KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET', 'The client’s secret there')),
  kafkaTokenScope: file('KAFKA_SASL_OAUTHBEARER_SCOPE', 'The scope that is asked for'),
  kafkaTokenCa: file(
    'KAFKA_HTTPS_CA_LOCATION',
    'File of the authorities of the token endpoint (default: the system’s)',
  ),
  kafkaSslCa: file(
    'KAFKA_SSL_CA_LOCATION',
    'File of the authorities that sign the brokers’ certificates (default: the system’s)',
  ),
  kafkaSslCertificate: file('KAFKA_SSL_CERTIFICATE_LOCATION', 'File of the client’s certificate'),
  kafkaSslKey: file('KAFKA_SSL_KEY_LOCATION', 'File of the key of that certificate'),
  kafkaSslKeyPassword: optional(secret('KAFKA_SSL_KEY_PASSWORD', 'Password of that key')),
  kafkaAllowCleartextPassword: optional(
    word('KAFKA_ALLOW_CLEARTEXT_PASSWORD', 'yes: PLAIN and OAUTHBEARER also without TLS, readable for the network', [
      'yes',
    ]),
  ),
};

type Values = {
  readonly [K in keyof typeof kafkaVariables]: (typeof kafkaVariables)[K] extends Variable<infer T> ? T : never;
};

/** @throws ConfigurationError */
export function kafkaOf(values: Values): KafkaServers {
  const problems: string[] = [];
  const protocol = values.kafkaSecurityProtocol;
  const isSasl = protocol.startsWith('sasl_');
  const tls = protocol.endsWith('ssl') ? tlsFilesOf(values, problems) : undefined;
  const login = isSasl ? loginOf(values, tls !== undefined, problems) : undefined;
  problems.push(...findIgnored(values, isSasl, tls !== undefined));
  if (problems.length > 0) throw new ConfigurationError(problems);
  const servers = createKafkaServers({ brokers: values.kafkaBrokers, tls, login });
  try {
    servers.tlsOptions?.();
  } catch (error) {
    if (error instanceof TlsFileError) throw new ConfigurationError([error.message]);
    throw error;
  }
  return servers;
}

const fileOf = (name: string, path: string | undefined): TlsFile | undefined =>
  path === undefined ? undefined : { name, path };

function tlsFilesOf(values: Values, problems: string[]): TlsFiles {
  const { kafkaSslCertificate, kafkaSslKey } = values;
  if ((kafkaSslCertificate === undefined) !== (kafkaSslKey === undefined)) {
    problems.push('KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION: set both or none');
  }
  return {
    ca: fileOf('KAFKA_SSL_CA_LOCATION', values.kafkaSslCa) ?? 'system',
    certificate: fileOf('KAFKA_SSL_CERTIFICATE_LOCATION', kafkaSslCertificate),
    key: fileOf('KAFKA_SSL_KEY_LOCATION', kafkaSslKey),
    keyPassword: values.kafkaSslKeyPassword,
  };
}

function loginOf(values: Values, isEncrypted: boolean, problems: string[]): SaslLogin | undefined {
  const { kafkaSaslMechanism: mechanism } = values;
  const require = <T>(name: string, value: T | undefined): T => {
    if (value === undefined) problems.push(`${name} is required for KAFKA_SASL_MECHANISM=${mechanism}`);
    return value as T;
  };
  if (mechanism === undefined) {
    problems.push(`KAFKA_SASL_MECHANISM is required for KAFKA_SECURITY_PROTOCOL=${values.kafkaSecurityProtocol}`);
    return undefined;
  }
  if (!mechanism.startsWith('SCRAM') && !isEncrypted && values.kafkaAllowCleartextPassword !== 'yes') {
    problems.push(
      `KAFKA_SASL_MECHANISM: ${mechanism} without TLS shows its secret to the network: use KAFKA_SECURITY_PROTOCOL=sasl_ssl or ` +
        `SCRAM, or set KAFKA_ALLOW_CLEARTEXT_PASSWORD=yes`,
    );
  }
  if (mechanism !== 'OAUTHBEARER') {
    const username = require('KAFKA_SASL_USERNAME', values.kafkaSaslUsername);
    return { mechanism, username, password: require('KAFKA_SASL_PASSWORD', values.kafkaSaslPassword) };
  }
  const address = require('KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL', values.kafkaTokenUrl);
  const clientId = require('KAFKA_SASL_OAUTHBEARER_CLIENT_ID', values.kafkaTokenClientId);
  const clientSecret = require<Secret>('KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET', values.kafkaTokenClientSecret);
  const url = address === undefined ? undefined : parseEndpoint(address, values, problems);
  if (url === undefined) return undefined;
  const ca = fileOf('KAFKA_HTTPS_CA_LOCATION', values.kafkaTokenCa);
  return {
    mechanism,
    fetchToken: createTokenSource({ url, clientId, clientSecret, scope: values.kafkaTokenScope, ca }),
  };
}

function parseEndpoint(address: string, values: Values, problems: string[]): URL | undefined {
  const name = 'KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL';
  const url = URL.parse(address);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    problems.push(`${name}: expected an https:// address without user and password`);
    return undefined;
  }
  if (url.protocol === 'http:' && values.kafkaAllowCleartextPassword !== 'yes') {
    problems.push(
      `${name}: http:// shows the client's secret to the network: use https://, or set KAFKA_ALLOW_CLEARTEXT_PASSWORD=yes`,
    );
  }
  return url;
}

/** What is set and would not be in force: somebody believes that it is. */
function findIgnored(values: Values, isSasl: boolean, isEncrypted: boolean): string[] {
  const keys = Object.keys(kafkaVariables) as (keyof Values)[];
  const set = (prefix: RegExp) =>
    keys
      .map((key) => kafkaVariables[key].name)
      .filter((name, index) => prefix.test(name) && values[keys[index]!] !== undefined);
  const say = (names: readonly string[], wanted: string) =>
    names.map(
      (name) =>
        `${name} is set, and KAFKA_SECURITY_PROTOCOL=${values.kafkaSecurityProtocol} ignores it: set ${wanted}, or unset it`,
    );
  return [
    ...(isSasl ? [] : say(set(/^KAFKA_SASL_/), 'sasl_ssl')),
    ...(isEncrypted ? [] : say(set(/^KAFKA_SSL_/), 'ssl or sasl_ssl')),
  ];
}
