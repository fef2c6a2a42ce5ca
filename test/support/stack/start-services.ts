// Readers and sinks as the stages start them. Times are short on purpose: what takes minutes in production shows in
// seconds. Named moments to stop at come from process/failpoints.ts.

import type { Service } from '../process/service-process.ts';
import { waitFor } from '../wait.ts';
import type { TestEnvironment } from './environment.ts';

export type StartOptions = {
  /** As process/failpoints.ts reads them. */
  readonly failpoints?: string;
  /** Variables on top of the environment's. */
  readonly more?: Readonly<Record<string, string>>;
};

/** Two seconds of silence free the slot, a transaction lives five. */
const readerTimes = { WAL_SENDER_TIMEOUT_MS: '2000', TRANSACTION_TIMEOUT_MS: '5000', IDLE_CHECKPOINT_MS: '500' };
/** Six seconds are the broker's least. */
const sinkTimes = { SESSION_TIMEOUT_MS: '6000', LAG_INTERVAL_MS: '500' };

/** Starts a reader and waits for no more than its process. */
export function startReader(environment: TestEnvironment, { more, ...options }: StartOptions = {}): Promise<Service> {
  return environment.startService('cdc-reader', { ...readerTimes, ...more }, options);
}

/** The same for a sink. `wrongRule`: it takes double of what was ordered. */
export function startSink(
  environment: TestEnvironment,
  { more, wrongRule = false, ...options }: StartOptions & { readonly wrongRule?: boolean } = {},
): Promise<Service> {
  const nodeArgs = wrongRule ? ['--import', './test/support/process/wrong-rule.ts'] : [];
  return environment.startService('cart-sink', { ...sinkTimes, ...more }, { ...options, nodeArgs });
}

/** Waits until the reader has paused at a failpoint. */
export async function waitPaused(reader: Service, name: string): Promise<void> {
  await waitFor(
    `the reader to pause at ${name}`,
    () => [...reader.logs].some((entry) => entry.event === 'failpoint.paused' && entry.name === name),
    { deadlineMs: 30_000 },
  );
}
