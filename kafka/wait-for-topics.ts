// Waits until there is a topic to consume. A consumer never creates one: it would get the broker's default of partitions.
// Guarantees: what is returned exists. Whether to consume a topic that has problems is left to the caller.

import { setTimeout as delay } from 'node:timers/promises';
import type { Kafka } from 'kafkajs';
import { checkTopic, describeTopics, withAdmin } from './topics.ts';

const POLL_MS = 500;
const REPORT_EVERY_MS = 10_000;

export interface TopicsFound {
  /** The required topic and, if it exists, the optional one. */
  readonly topics: readonly string[];
  /** Why they must not be consumed: events could be lost from them unnoticed. */
  readonly problems: readonly string[];
}

/**
 * Resolves once the topic `required` exists. Calls `onWaiting` at once and then every ten seconds.
 * @throws KafkaUnavailableError; AbortError when `signal` is aborted
 */
export function waitForTopics(
  kafka: Kafka,
  { required, optional }: { readonly required: string; readonly optional: string },
  { signal, onWaiting }: { readonly signal: AbortSignal; readonly onWaiting: () => void },
): Promise<TopicsFound> {
  return withAdmin(kafka, async (admin) => {
    for (let reportedMs = Number.NEGATIVE_INFINITY; ; ) {
      const described = await describeTopics(admin, [required, optional]);
      if (described.get(required)?.exists) {
        const existing = [...described.values()].filter(({ exists }) => exists);
        // The number of brokers only matters for warnings, which the reader logs.
        const problems = existing.flatMap(
          (topic) => checkTopic(topic, { cleanupPolicy: 'delete', brokers: 1 }).problems,
        );
        return { topics: existing.map(({ name }) => name), problems };
      }
      if (performance.now() - reportedMs >= REPORT_EVERY_MS) {
        reportedMs = performance.now();
        onWaiting();
      }
      await delay(POLL_MS, undefined, { signal });
    }
  });
}
