// Every error of the reader's own that ends a start is transient, waits, or is a halt: none is left to be found out by tries.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createKafkaError, KafkaUnavailableError, TopicMissingError } from '#kafka/errors.ts';
import { classifyReaderFailure } from '../../../../cdc-reader/supervise/classify-failure.ts';
import { PreflightError } from '../../../../cdc-reader/supervise/restart-errors.ts';

const repository = join(import.meta.dirname, '..', '..', '..', '..');
const withCode = (code: string) => Object.assign(new Error('x'), { code });

/** Codes of errors that are no halt, in what the reader is made of. */
const codes = globSync(['cdc-reader/{postgres,supervise,startup,pipeline}/**/*.ts', 'kafka/**/*.ts'], {
  cwd: repository,
})
  .map((path) => readFileSync(join(repository, path), 'utf8'))
  .flatMap((text) =>
    [...text.matchAll(/class \w+ extends Error \{[^}]*?\bcode = '([A-Z_]+)'/g)].map(([, code]) => code!),
  );

/** What is handled by name before it could end a start, and what nobody can explain: tried five times, then it waits. */
const elsewhere = {
  BATCH_TOO_LARGE: 'unknown: the message names the batch',
  BATCH_UNREADABLE: 'unknown: the message names the batch',
  EXPANSION_LIMIT: 'becomes BATCH_TOO_LARGE',
  KAFKA_AWAY: 'by its cause, else transient',
  OFFSET_OUT_OF_RANGE: 'unknown: somebody deletes records while they are read',
  PGOUTPUT_FORMAT: 'unknown: the message names the position',
  PREFLIGHT: 'waits under the name of its first problem',
  RECORD_TOO_LARGE: 'becomes EVENT_TOO_LARGE, a halt',
  SLOT_BUSY: 'becomes STANDBY or SLOT_NOT_STREAMING',
  SLOT_LOST: 'becomes a halt',
  SLOT_MISSING: 'becomes a halt, or the initial snapshot',
  STANDBY: 'no failure',
  TOPIC_MISSING: 'waits',
};

describe('a failure of the reader', () => {
  it('has a state, whatever own error it is', () => {
    expect(codes.length).toBeGreaterThan(15);
    const left = codes.filter((code) => classifyReaderFailure(withCode(code)).kind === 'unknown');
    expect(left.filter((code) => !(code in elsewhere))).toEqual([]);
  });

  it.each([
    ['SOURCE_MOVED', withCode('SOURCE_MOVED')],
    ['PRODUCER_FENCED', withCode('PRODUCER_FENCED')],
    ['KAFKA_AWAY', new KafkaUnavailableError('no answer')],
    ['ECONNREFUSED', withCode('ECONNREFUSED')],
    ['57P03', withCode('57P03')],
  ])('is transient: %s', (reason, error) => {
    expect(classifyReaderFailure(error)).toEqual({ kind: 'transient', reason });
  });

  it.each([
    ['ROW_LEVEL_SECURITY', new PreflightError([{ code: 'ROW_LEVEL_SECURITY', problem: 'x', remedy: 'y' }])],
    ['TOPIC_MISSING', new TopicMissingError('orders.placed', 'Run kafka-topics.sh')],
    ['TRANSACTION_TIMEOUT', new KafkaUnavailableError('x', { cause: createKafkaError(50) })],
    ['TIMESTAMP_REFUSED', new KafkaUnavailableError('x', { cause: createKafkaError(32) })],
    ['DISK_FULL', withCode('ENOSPC')],
    [
      'VALUE_TOO_LARGE',
      new Error('The stream ended', { cause: new Error('invalid memory alloc request size 1120000003') }),
    ],
    ['DATABASE_AUTHENTICATION', withCode('28P01')],
  ])('waits: %s', (name, error) => {
    expect(classifyReaderFailure(error)).toMatchObject({ kind: 'waiting', name });
  });

  it('is unknown where nobody has thought of it', () => {
    expect(classifyReaderFailure(new TypeError('x')).kind).toBe('unknown');
    expect(classifyReaderFailure(undefined).kind).toBe('unknown');
  });
});
