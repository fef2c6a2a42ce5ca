// Detects a kafkajs consumer that hangs: kafkajs emits CRASH only after it has disconnected, which can hang, and then
// nothing would ever happen again. What follows is left to the caller.

import type { Consumer } from 'kafkajs';

/** Beyond a rebalance, the longest time without any event: kafkajs's longest request takes 30 s. */
const SILENCE_LIMIT_MS = 60_000;

/** Calls `fail` once the consumer is silent, every second until the returned interval is cleared. */
export function watchForSilence(
  consumer: Consumer,
  rebalanceTimeoutMs: number,
  fail: (error: Error) => void,
): NodeJS.Timeout {
  const { GROUP_JOIN, HEARTBEAT, FETCH, REBALANCING } = consumer.events;
  const limitMs = rebalanceTimeoutMs + SILENCE_LIMIT_MS;
  let lastMs = performance.now();
  const alive = (): void => {
    lastMs = performance.now();
  };
  consumer.on(GROUP_JOIN, alive);
  consumer.on(HEARTBEAT, alive);
  consumer.on(FETCH, alive);
  consumer.on(REBALANCING, alive);
  return setInterval(() => {
    if (performance.now() - lastMs > limitMs)
      fail(new Error(`The Kafka consumer has shown no activity for ${limitMs} ms`));
  }, 1_000);
}
