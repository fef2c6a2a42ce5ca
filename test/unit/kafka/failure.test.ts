// The table of Kafka's error codes is complete, and agrees with kafkajs about their names.
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { createKafkaError, KafkaUnavailableError } from '#kafka/errors.ts';
import { classifyKafkaFailure, kafkaErrors } from '#kafka/failure.ts';

const { errorCodes } = createRequire(import.meta.url)('kafkajs/src/protocol/error') as {
  errorCodes: readonly { code: number; type: string; retriable: boolean }[];
};
/** The highest code of Kafka 4.4 (org.apache.kafka.common.protocol.Errors). */
const NEWEST_CODE = 136;

describe('the table', () => {
  it('has every code of Kafka 4.4', () => {
    const codes = [-1, ...Array.from({ length: NEWEST_CODE }, (_, index) => index + 1)];
    expect(codes.filter((code) => kafkaErrors[code] === undefined)).toEqual([]);
    expect(Object.keys(kafkaErrors)).toHaveLength(codes.length);
  });

  it('retries whatever kafkajs calls retriable', () => {
    const wrong = errorCodes.filter(({ code, retriable }) => retriable && kafkaErrors[code]![1] !== 'transient');
    expect(wrong).toEqual([]);
  });

  it('has a remedy for whatever waits', () => {
    for (const [, answer] of Object.values(kafkaErrors)) {
      if (typeof answer === 'string') continue;
      expect(answer[0]).toMatch(/^[A-Z][A-Z0-9_]+$/);
      expect(answer[1]).toMatch(/^[A-Z].+\.$/);
    }
  });
});

describe('a failure with Kafka', () => {
  it.each([
    [29, 'KAFKA_AUTHORIZATION'],
    [50, 'TRANSACTION_TIMEOUT'],
    [26, 'SESSION_TIMEOUT'],
    [32, 'TIMESTAMP_REFUSED'],
    [58, 'KAFKA_AUTHENTICATION'],
    [93, 'KAFKA_AUTHENTICATION'],
    [115, 'KAFKA_BROKERS'],
  ])('of code %d waits as %s, also inside of another error', (code, name) => {
    const error = createKafkaError(code);
    expect(classifyKafkaFailure(error)).toMatchObject({ kind: 'waiting', name });
    expect(classifyKafkaFailure(new KafkaUnavailableError('x', { cause: error }))).toMatchObject({
      kind: 'waiting',
      name,
    });
  });

  it.each([5, 6, 7, 19, 51, 89, 90, -1])('of code %d is transient', (code) => {
    expect(classifyKafkaFailure(createKafkaError(code)).kind).toBe('transient');
  });

  it.each([1, 42, 91, 999])('of code %d is unknown', (code) => {
    expect(classifyKafkaFailure(createKafkaError(code)).kind).toBe('unknown');
  });

  it('without a code of Kafka is transient where no broker was reached', () => {
    expect(classifyKafkaFailure(new KafkaUnavailableError('no answer')).kind).toBe('transient');
    const cut = Object.assign(new Error('cut'), { name: 'KafkaJSConnectionError', code: 'ECONNREFUSED' });
    expect(classifyKafkaFailure(cut)).toEqual({ kind: 'transient', reason: 'ECONNREFUSED' });
    const certificate = Object.assign(new Error('Connection error: CERT_HAS_EXPIRED'), {
      name: 'KafkaJSConnectionError',
    });
    expect(classifyKafkaFailure(certificate)).toMatchObject({ kind: 'waiting', name: 'TLS_CERTIFICATE_EXPIRED' });
  });

  it.each([
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'TLS_UNKNOWN_CA', /KAFKA_SSL_CA_LOCATION/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'TLS_HOST_NAME', /KAFKA_BROKERS/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'TLS_CLIENT_CERTIFICATE', /KAFKA_SSL_CERTIFICATE_LOCATION/],
    ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED', 'TLS_CLIENT_CERTIFICATE', /KAFKA_SSL_CERTIFICATE_LOCATION/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'TLS_HANDSHAKE', /TLS is on/],
  ])('of TLS, %s, waits under a name of its own, with the variable', (code, name, remedy) => {
    const failed = Object.assign(new Error('Connection error'), { name: 'KafkaJSConnectionError', code });
    expect(classifyKafkaFailure(new KafkaUnavailableError('x', { cause: failed }))).toMatchObject({
      kind: 'waiting',
      name,
      remedy: expect.stringMatching(remedy),
    });
  });

  it('of the login is one of the mechanism or of the secret', () => {
    const failed = (message: string) => Object.assign(new Error(message), { name: 'KafkaJSSASLAuthenticationError' });
    const offered = failed('SASL PLAIN mechanism is not supported by the server');
    expect(classifyKafkaFailure(offered)).toMatchObject({ name: 'KAFKA_MECHANISM' });
    expect(classifyKafkaFailure(failed('SASL PLAIN authentication failed'))).toMatchObject({
      name: 'KAFKA_AUTHENTICATION',
    });
  });

  it('of the databases is classified too', () => {
    expect(classifyKafkaFailure(Object.assign(new Error('x'), { code: '28P01' }))).toMatchObject({ kind: 'waiting' });
    expect(classifyKafkaFailure(new TypeError('x')).kind).toBe('unknown');
  });
});
