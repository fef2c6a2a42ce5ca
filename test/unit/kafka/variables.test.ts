// What is refused of Kafka's variables, each under its name, and what is made of the rest.
import { describe, expect, it } from 'vitest';
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import { ConfigurationError, readEnvironment } from '#service/environment.ts';

const problemsOf = (env: Record<string, string>): readonly string[] => {
  try {
    kafkaOf(readEnvironment(kafkaVariables, env));
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
};
const sasl = (protocol: string, mechanism: string) => ({
  KAFKA_SECURITY_PROTOCOL: protocol,
  KAFKA_SASL_MECHANISM: mechanism,
});
const user = { KAFKA_SASL_USERNAME: 'me', KAFKA_SASL_PASSWORD: 'geheim' };

describe('the variables of Kafka', () => {
  it('are plain text without a login by default', () => {
    const kafka = kafkaOf(readEnvironment(kafkaVariables, {}));
    expect(kafka).toMatchObject({ brokers: ['127.0.0.1:9092'], certificates: [] });
    expect([kafka.tlsOptions, kafka.createSasl]).toEqual([undefined, undefined]);
  });

  it.each<[Record<string, string>, RegExp]>([
    [{ KAFKA_SECURITY_PROTOCOL: 'tls' }, /^KAFKA_SECURITY_PROTOCOL: expected one of plaintext, ssl/],
    [{ KAFKA_SECURITY_PROTOCOL: 'sasl_ssl' }, /^KAFKA_SASL_MECHANISM is required/],
    [{ ...sasl('sasl_ssl', 'GSSAPI'), ...user }, /^KAFKA_SASL_MECHANISM: expected one of/],
    [{ ...sasl('sasl_ssl', 'PLAIN'), KAFKA_SASL_USERNAME: 'me' }, /^KAFKA_SASL_PASSWORD is required/],
    [{ ...sasl('sasl_ssl', 'OAUTHBEARER') }, /^KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL is required/],
    [{ ...sasl('sasl_plaintext', 'PLAIN'), ...user }, /KAFKA_ALLOW_CLEARTEXT_PASSWORD=yes/],
    [{ ...sasl('sasl_plaintext', 'PLAIN'), ...user, KAFKA_ALLOW_CLEARTEXT_PASSWORD: 'no' }, /expected one of yes/],
    [user, /KAFKA_SASL_USERNAME is set, and KAFKA_SECURITY_PROTOCOL=plaintext ignores it/],
    [{ KAFKA_SSL_CA_LOCATION: '/x' }, /KAFKA_SSL_CA_LOCATION is set, and .* ignores it/],
    [{ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_CA_LOCATION: '/nowhere' }, /^KAFKA_SSL_CA_LOCATION.*\(ENOENT\)/],
    [{ KAFKA_SECURITY_PROTOCOL: 'ssl', KAFKA_SSL_KEY_LOCATION: '/x' }, /set both or none/],
  ])('%j are refused', (env, problem) => {
    const problems = problemsOf(env);
    expect(problems.join('\n')).toMatch(problem);
    expect(problems.join('\n')).not.toContain('geheim');
  });

  it('name a token endpoint without TLS', () => {
    const client = { KAFKA_SASL_OAUTHBEARER_CLIENT_ID: 'me', KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET: 'geheim' };
    const at = (url: string) => ({
      ...sasl('sasl_ssl', 'OAUTHBEARER'),
      ...client,
      KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: url,
    });
    expect(problemsOf(at('https://idp.example/token'))).toEqual([]);
    expect(problemsOf(at('http://idp.example/token'))[0]).toMatch(/http:\/\/ shows/);
    expect(problemsOf(at('https://me:geheim@idp.example/token'))[0]).toMatch(/without user and password/);
  });

  it('may be written in either case', () => {
    const kafka = kafkaOf(readEnvironment(kafkaVariables, { ...sasl('SASL_PLAINTEXT', 'scram-sha-512'), ...user }));
    expect(kafka.createSasl!()).toMatchObject({ mechanism: 'scram-sha-512', username: 'me' });
    expect(JSON.stringify(kafka.createSasl!())).not.toContain('geheim');
  });
});
