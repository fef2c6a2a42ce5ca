// Samples the open transactions of the live topic for as long as the process lives: also while the reader has halted or stands by,
// which is when one that hangs holds up the sinks unseen. Guarantees: a connection of its own, a second for each step, and a failed
// sample ends nothing; the reader never waits for it. What the figures mean is transaction-metrics.ts's.
import { setTimeout as delay } from 'node:timers/promises';
import { readOpenTransactions } from '#kafka/reading/open-transactions.ts';
import { createPartitionClient, type PartitionClient } from '#kafka/reading/partition-client.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import type { ReaderMetrics } from '../metrics.ts';

/** Two small requests to each leader; the same as the check of the live topic's id. */
const SAMPLE_EVERY_MS = 5_000;
const DEADLINE_MS = 1_000;

type Client = Pick<PartitionClient, 'listOffsets' | 'describeProducers' | 'close'>;

/** Samples at once and then until it is closed, which cuts its connection. */
export function startTransactionSampler(options: {
  config: Pick<CdcReaderConfig, 'kafka' | 'applicationName' | 'ordersTopic'>;
  metrics: Pick<ReaderMetrics, 'transactionsSampled'>;
  logger: Logger;
  open?: typeof createPartitionClient | (() => Promise<Client>);
  everyMs?: number;
}): { close(): Promise<void> } {
  const { config, metrics, logger, open = createPartitionClient, everyMs = SAMPLE_EVERY_MS } = options;
  const { kafka, applicationName, ordersTopic } = config;
  const closed = new AbortController();
  let client: Client | undefined;

  const closeClient = async (): Promise<void> => {
    const open = client;
    client = undefined;
    await open?.close();
  };
  const sample = async (): Promise<void> => {
    client ??= await open({ kafka, clientId: `${applicationName}-status`, logger, requestTimeoutMs: DEADLINE_MS });
    metrics.transactionsSampled(await readOpenTransactions(client, ordersTopic, DEADLINE_MS));
  };
  const run = async (): Promise<void> => {
    while (!closed.signal.aborted) {
      try {
        await sample();
      } catch (error) {
        logger.debug({ err: error }, 'The open transactions of the live topic could not be read; they are read again.');
        // Leaders may have moved, and kafkajs never gives up a connection that has stopped responding.
        await closeClient();
      }
      await delay(everyMs, undefined, { signal: closed.signal, ref: false }).catch(() => undefined); // closed
    }
    await closeClient();
  };
  const running = run();
  return {
    close: async () => {
      closed.abort();
      await closeClient();
      await running;
    },
  };
}
