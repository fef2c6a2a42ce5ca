// Detects a kafkajs consumer that is a member of its group and no longer does its work. Guarantees: two ways are found in which
// nothing would ever happen again. It hangs (CRASH comes only after it has disconnected, which can hang); or, when joining the
// group again has failed, it goes on with heartbeats as the member that it was, and names no assignment. What follows is the caller's.
import type { Consumer } from 'kafkajs';

/** Beyond a rebalance, the longest time without any event: kafkajs's longest request takes 30 s. */
const SILENCE_LIMIT_MS = 60_000;

/** Calls `fail` at most every second, until the returned interval is cleared. */
export function watchGroup(
  consumer: Pick<Consumer, 'on' | 'events'>,
  limits: { readonly rebalanceTimeoutMs: number; readonly heartbeatIntervalMs: number },
  fail: (error: Error) => void,
  nowMs: () => number = () => performance.now(),
): NodeJS.Timeout {
  const { GROUP_JOIN, HEARTBEAT, FETCH, REBALANCING } = consumer.events;
  const limitMs = limits.rebalanceTimeoutMs + SILENCE_LIMIT_MS;
  let lastMs = nowMs();
  let rejoiningSinceMs: number | undefined;
  const alive = (): void => {
    lastMs = nowMs();
  };
  consumer.on(FETCH, alive);
  consumer.on(REBALANCING, () => {
    alive();
    rejoiningSinceMs ??= nowMs();
  });
  consumer.on(GROUP_JOIN, () => {
    alive();
    rejoiningSinceMs = undefined;
  });
  consumer.on(HEARTBEAT, () => {
    alive();
    // One may have been on its way when the rebalance began; the next is sent an interval later at the earliest.
    if (rejoiningSinceMs === undefined || nowMs() - rejoiningSinceMs < limits.heartbeatIntervalMs) return;
    fail(new Error('The Kafka consumer went on without joining its group again'));
  });
  return setInterval(() => {
    if (nowMs() - lastMs > limitMs) fail(new Error(`The Kafka consumer has shown no activity for ${limitMs} ms`));
  }, 1_000);
}
