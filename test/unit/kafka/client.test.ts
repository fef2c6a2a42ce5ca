import kafkajs from 'kafkajs';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createKafkaLogCreator, kafkaLogLevel } from '#kafka/client.ts';
import { kafkaErrorType } from '#kafka/errors.ts';

const { logLevel } = kafkajs;

function capture(level: string) {
  const lines: Record<string, unknown>[] = [];
  const logger = pino(
    { level, formatters: { level: (label) => ({ level: label }) } },
    { write: (line) => lines.push(JSON.parse(line)) },
  );
  const log = createKafkaLogCreator(logger)(logLevel.DEBUG);
  const say = (at: keyof typeof logLevel, namespace: string, message: string, extra: object = {}) =>
    log({ namespace, level: logLevel[at], label: at, log: { timestamp: 'now', logger: 'kafkajs', message, ...extra } });
  return { lines, logger, say };
}

describe("kafkajs's log lines", () => {
  it('are debug when it retries, whatever it calls them', () => {
    const { lines, say } = capture('trace');
    say('ERROR', 'Producer', 'Failed to send messages: not the leader', { retryCount: 0, retryTime: 4 });
    say('ERROR', 'Connection', 'Connection error: ECONNREFUSED', { broker: 'b:1', stack: 'at …' });
    say('ERROR', 'BrokerPool', 'Failed to connect to seed broker');
    expect(lines.map(({ level }) => level)).toEqual(['debug', 'debug', 'debug']);
  });

  it('are warnings when it gives something up', () => {
    const { lines, say } = capture('info');
    say('ERROR', 'Consumer', 'Crash: boom', { groupId: 'g' });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({
      level: 'warn',
      event: 'kafka.client',
      namespace: 'Consumer',
      groupId: 'g',
      msg: 'Crash: boom',
    });
  });

  it('keep the level below ours otherwise, and say nothing of partitioners', () => {
    const { lines, say } = capture('trace');
    say('INFO', 'Consumer', 'Starting');
    say('DEBUG', 'Connection', 'Request Fetch');
    say('WARN', '', 'KafkaJS v2.0.0 switched default partitioner. To retain the same …');
    expect(lines.map(({ level }) => level)).toEqual(['debug', 'trace']);
  });

  it('are only built for every request when someone traces', () => {
    expect(kafkaLogLevel(capture('debug').logger)).toBe(logLevel.INFO);
    expect(kafkaLogLevel(capture('trace').logger)).toBe(logLevel.DEBUG);
  });
});

describe("Kafka's name of an error", () => {
  it('is found below what kafkajs wraps around it', () => {
    const inner = Object.assign(new Error('fenced'), { type: 'INVALID_PRODUCER_EPOCH' });
    const wrapped = new Error('retries exceeded', { cause: new Error('non-retriable', { cause: inner }) });
    expect(kafkaErrorType(wrapped)).toBe('INVALID_PRODUCER_EPOCH');
    const aggregate = Object.assign(new Error('Topic creation errors'), { errors: [inner] });
    expect(kafkaErrorType(aggregate)).toBe('INVALID_PRODUCER_EPOCH');
  });

  it('is undefined where there is none', () => {
    expect(kafkaErrorType(new Error('ECONNREFUSED'))).toBeUndefined();
    expect(kafkaErrorType('text')).toBeUndefined();
    const circular = new Error('a');
    circular.cause = circular;
    expect(kafkaErrorType(circular)).toBeUndefined();
  });
});
