// What a streaming reader does for replays beside publishing: it keeps the window of WAL, and reports from where on Kafka
// can be replayed. Guarantees: neither delays publishing nor ends it.
import { setTimeout as delay } from 'node:timers/promises';
import type { KafkaLog } from '#kafka/reading/log.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import type { Lsn } from '#schemas/lsn.ts';
import { windowSlotName } from '#schemas/resource-names.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import type { ReaderMetrics } from '../metrics.ts';
import { readKafkaCoverage } from '../startup/live-topic.ts';
import { findCoveredRanges, type KafkaCoverage } from './kafka-coverage.ts';
import { startWindowKeeper } from './window-keeper.ts';
import { createWindowSlotSession } from './window-slot.ts';

/** Retention moves slowly, and each sample costs a few requests a partition. */
const COVERAGE_EVERY_MS = 60_000;
const READ_DEADLINE_MS = 10_000;

interface ReplayUpkeep {
  /** Called with each checkpoint that Kafka has committed. */
  published(checkpoint: Checkpoint): void;
  /** Within a second. */
  close(): Promise<void>;
}

export function startReplayUpkeep(options: {
  config: CdcReaderConfig;
  session: { readonly checkpoint: Checkpoint; readonly log: KafkaLog };
  metrics: ReaderMetrics;
  logger: Logger;
}): ReplayUpkeep {
  const { config, session, metrics, logger } = options;
  let checkpoint = session.checkpoint;
  const keeper = startWindowKeeper({
    open: () =>
      createWindowSlotSession({
        postgres: config.orderDatabase,
        applicationName: config.applicationName,
        liveSlotName: config.slotName,
        windowSlotName: windowSlotName(config.slotName),
      }),
    limits: config.replayWindow,
    windowSlotName: windowSlotName(config.slotName),
    checkpoint: () => checkpoint,
    metrics,
    logger,
  });
  const sampler = startCoverageSampler({
    log: session.log,
    topic: config.ordersTopic,
    checkpoint: () => checkpoint,
    metrics,
    logger,
  });
  return {
    published(newest) {
      checkpoint = newest;
    },
    async close() {
      sampler.close();
      await keeper.close();
      // Whoever streams next reports; old figures of this one would stand beside them.
      metrics.replayWindow(null, 0, 0);
      metrics.replayableFromKafka(null);
    },
  };
}

/** Reports what can be replayed from Kafka, now and every minute; a failed sample waits for the next one. */
export function startCoverageSampler(options: {
  log: Pick<KafkaLog, 'readOffsets' | 'readRecords'>;
  topic: string;
  checkpoint: () => Checkpoint;
  metrics: Pick<ReaderMetrics, 'replayableFromKafka'>;
  logger: Logger;
  everyMs?: number;
}): { close(): void } {
  const { log, topic, metrics, logger, everyMs = COVERAGE_EVERY_MS } = options;
  const closed = new AbortController();
  const run = async (): Promise<void> => {
    while (!closed.signal.aborted) {
      const checkpoint = options.checkpoint();
      try {
        const coverage = await readKafkaCoverage(log, topic, checkpoint, READ_DEADLINE_MS);
        if (closed.signal.aborted) return;
        metrics.replayableFromKafka(oldestReplayable(coverage, checkpoint));
      } catch (error) {
        if (closed.signal.aborted) return;
        logger.debug({ err: error }, 'What can be replayed from Kafka could not be read; it is retried in a minute.');
      }
      await delay(everyMs, undefined, { signal: closed.signal, ref: false }).catch(() => undefined); // closed
    }
  };
  void run();
  return { close: () => closed.abort() };
}

/** From where on everything up to now is there: the beginning of the last covered range, if that reaches up to now. */
function oldestReplayable(coverage: KafkaCoverage, checkpoint: Checkpoint): Lsn | null {
  if (coverage.oldestLsn === null) return null;
  const newest = findCoveredRanges(coverage, checkpoint).at(-1);
  return newest?.toLsn === checkpoint.throughLsn ? newest.fromLsn : checkpoint.throughLsn;
}
