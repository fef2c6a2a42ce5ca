// Whether the live topic is still the one that is published to, asked every few seconds for as long as a reader streams: one
// that was deleted, created again and filled past its old end answers a produce request like the old one. Guarantees: a topic
// with another id ends the reader with the halt of a start that finds it (I11), also where there is nothing to publish. A
// broker that does not answer ends nothing: the pipeline has its own requests for that.
import { setTimeout as delay } from 'node:timers/promises';
import type { KafkaLog } from '#kafka/reading/log.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import type { Logger } from '#service/logger.ts';
import { requireSameTopic } from '../startup/continuity.ts';
import type { Scope } from './scope.ts';

/** One small request; the same as the sink's check of its lag. */
const WATCH_EVERY_MS = 5_000;

interface TopicWatch {
  /** Called with each checkpoint that Kafka has committed. */
  published(checkpoint: Checkpoint): void;
  /** Waits for nothing. */
  close(): void;
}

export function startTopicWatch(options: {
  topic: string;
  session: { readonly checkpoint: Checkpoint; readonly log: Pick<KafkaLog, 'readTopicId'> };
  scope: Pick<Scope, 'fail'>;
  logger: Logger;
  everyMs?: number;
}): TopicWatch {
  const { topic, session, scope, logger, everyMs = WATCH_EVERY_MS } = options;
  const closed = new AbortController();
  let checkpoint = session.checkpoint;

  const readId = async (): Promise<string | null> => {
    try {
      return await session.log.readTopicId(topic);
    } catch (error) {
      logger.debug({ err: error }, 'The id of the live topic could not be read.');
      return null;
    }
  };
  const run = async (): Promise<void> => {
    for (let last: string | null = null; !closed.signal.aborted; ) {
      await delay(everyMs, undefined, { signal: closed.signal, ref: false });
      const found = await readId();
      // Twice in a row: a broker may not have heard yet which topic has the name.
      if (found === last) requireSameTopic(checkpoint, found);
      last = found;
    }
  };
  run().catch((error) => {
    if (!closed.signal.aborted) scope.fail(error);
  });
  return {
    published: (next) => {
      checkpoint = next;
    },
    close: () => closed.abort(),
  };
}
