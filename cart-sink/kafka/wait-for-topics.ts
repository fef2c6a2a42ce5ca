/**
 * Waits until there is a topic to consume. The sink never creates one: it would get the broker's default of partitions.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Kafka } from 'kafkajs';
import { describeTopics, judgeTopic } from '#service/kafka-topics.ts';

const LOOK_EVERY_MS = 500;
const TELL_EVERY_MS = 10_000;

export interface TopicsWanted {
  readonly live: string;
  readonly replay: string;
}

export interface TopicsFound {
  /** The live topic and, where it exists, the replay topic. */
  readonly topics: readonly string[];
  /** Why they may not be consumed: events could vanish from them without a trace. */
  readonly problems: readonly string[];
}

/**
 * Resolves when the live topic exists. `onWaiting` is told at once and then every ten seconds.
 * @throws KafkaAwayError; AbortError when `signal` is aborted
 */
export async function waitForTopics(
  kafka: Kafka,
  wanted: TopicsWanted,
  options: { readonly signal: AbortSignal; readonly onWaiting: () => void },
): Promise<TopicsFound> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    for (let toldMs = Number.NEGATIVE_INFINITY; ; ) {
      const described = await describeTopics(admin, [wanted.live, wanted.replay]);
      if (described.get(wanted.live)?.exists) {
        const existing = [...described.values()].filter(({ exists }) => exists);
        // The number of brokers only matters to warnings, which are the reader's to give.
        const problems = existing.flatMap(
          (topic) => judgeTopic(topic, { cleanupPolicy: 'delete', brokers: 1 }).problems,
        );
        return { topics: existing.map(({ name }) => name), problems };
      }
      if (performance.now() - toldMs >= TELL_EVERY_MS) {
        toldMs = performance.now();
        options.onWaiting();
      }
      await delay(LOOK_EVERY_MS, undefined, { signal: options.signal });
    }
  } finally {
    await admin.disconnect();
  }
}
