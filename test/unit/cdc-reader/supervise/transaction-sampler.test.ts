// Sampling the open transactions: over one connection while it is good, another after a failure, and none left at the end.
import { expect, it } from 'vitest';
import { createLogger } from '#service/logger.ts';
import { startTransactionSampler } from '../../../../cdc-reader/supervise/transaction-sampler.ts';
import { waitFor } from '../../../support/wait.ts';

const config = {
  kafka: undefined as never,
  applicationName: 'tillstream-cdc-reader-test' as const,
  ordersTopic: 'live',
};

it('goes on over another connection after a failure, and closes every one', async () => {
  let opened = 0;
  let closed = 0;
  let samples = 0;
  const sampler = startTransactionSampler({
    config,
    logger: createLogger('test', 'silent'),
    metrics: {
      transactionsSampled: () => {
        samples += 1;
      },
    },
    everyMs: 1,
    open: async () => {
      opened += 1;
      const isBad = opened <= 2;
      return {
        listOffsets: async () => {
          if (isBad) throw new Error('The leader is away.');
          return new Map([[0, 1n]]);
        },
        describeProducers: async () => [],
        close: async () => {
          closed += 1;
        },
      };
    },
  });
  await waitFor('three samples', async () => samples >= 3);
  expect([opened, closed]).toEqual([3, 2]);
  await sampler.close();
  expect(closed).toBe(3);
  const after = samples;
  await new Promise((resolve) => setImmediate(resolve));
  expect(samples).toBe(after);
});

it('outlives a Kafka that can not be reached', async () => {
  let tries = 0;
  const sampler = startTransactionSampler({
    config,
    logger: createLogger('test', 'silent'),
    metrics: { transactionsSampled: () => expect.unreachable() },
    everyMs: 1,
    open: async () => {
      tries += 1;
      throw new Error('No broker is reachable.');
    },
  });
  await waitFor('another try', async () => tries >= 3);
  await sampler.close();
});
