import { expect, test } from 'vitest';
import { formatError } from '#service/logger.ts';
import { createLogLines } from '../../support/process/log-lines.ts';

test('a line carries service, level as a word, event and sentence', () => {
  const { logger, lines } = createLogLines();
  logger.info({ event: 'order.placed' }, 'an order was placed');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({ service: 'test', level: 'info', event: 'order.placed', msg: 'an order was placed' });
  expect(lines[0]!.time).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
});

test('errors are logged without what Postgres and libraries hang on them', () => {
  const cause = Object.assign(new Error('inner'), { code: '23505', detail: 'Key (user_id)=(secret) already exists.' });
  const error = Object.assign(new Error('outer', { cause }), {
    code: 'X',
    constraint: 'orders_pkey',
    where: 'secret',
    query: 'secret',
    config: { password: 'secret' },
    details: { position: '1:0/A:0' },
  });
  const { logger, lines } = createLogLines();
  logger.error({ event: 'e', err: error }, 'failed');
  expect(lines[0]!.err).toMatchObject({
    type: 'Error',
    message: 'outer',
    code: 'X',
    constraint: 'orders_pkey',
    details: { position: '1:0/A:0' },
    cause: { message: 'inner', code: '23505' },
  });
  expect((lines[0]!.err as { stack: string }).stack).toContain('logger.test.ts');
  expect(JSON.stringify(lines)).not.toContain('secret');
});

test('a chain of causes that bites its tail is cut', () => {
  const error = new Error('a');
  error.cause = error;
  expect(JSON.stringify(formatError(error)).match(/"message":"a"/g)).toHaveLength(6);
});

test('what is thrown and is no error is logged by its type alone', () => {
  expect(formatError('secret')).toEqual({ type: 'string' });
});
