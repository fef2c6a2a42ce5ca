// Looks at reader and sinks until both have passed the snapshot of an audit, or the time is up. Which positions must be
// reached, and what a delay means, is progress.ts's.
import { setTimeout as delay } from 'node:timers/promises';
import { TopicMissingError } from '#kafka/errors.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import type { Checkpoint } from '#schemas/checkpoint.ts';
import type { Lsn } from '#schemas/lsn.ts';
import type { Database } from '#service/database.ts';
import { type NextOffsetRow, readNextOffsets } from '../../../cart-sink/sql/consumer-offsets.ts';
import type { AuditConfig } from '../config.ts';
import {
  explainDelay,
  findBehind,
  formatProgress,
  hasReaderPassed,
  type PartitionProgress,
  type ReaderProgress,
} from './progress.ts';

const LOOK_EVERY_MS = 200;

export interface Watched {
  readonly readCheckpoint: () => Promise<Checkpoint | null>;
  readonly readSlot: () => Promise<ReaderProgress['slot']>;
  readonly log: KafkaLog;
  readonly carts: Database;
  readonly config: Pick<AuditConfig, 'consumerGroup' | 'ordersTopic' | 'slotName'>;
}

/** @returns why the snapshot was not passed within `waitMs`; nothing when it was. `show` hears where it stands. */
export async function waitForPipeline(
  watched: Watched,
  targetLsn: Lsn,
  waitMs: number,
  show: (line: string) => void,
): Promise<string[]> {
  const giveUpMs = performance.now() + waitMs;
  let targets: Map<number, bigint> | null = null;
  for (;;) {
    const checkpoint = await watched.readCheckpoint();
    const throughLsn = checkpoint?.state === 'streaming' ? checkpoint.throughLsn : null;
    const reader: ReaderProgress = { throughLsn, slot: await watched.readSlot() };
    let partitions: PartitionProgress[] | null = null;
    if (targets !== null || hasReaderPassed(reader, targetLsn)) {
      const progress = await readPartitions(watched, watched.config.ordersTopic, targets);
      if (progress === null) return [`the live topic ${watched.config.ordersTopic} does not exist`];
      targets ??= new Map(progress.map(({ partition, target }) => [partition, target]));
      partitions = progress;
      if (findBehind(partitions).length === 0) return [];
    }
    show(formatProgress(targetLsn, reader, partitions));
    if (performance.now() >= giveUpMs) return explainDelay(targetLsn, watched.config.slotName, reader, partitions);
    await delay(LOOK_EVERY_MS);
  }
}

/**
 * How far the sinks are in a topic; null when it does not exist. Targets that are not given are what the partitions hold
 * now, open transactions included.
 */
export async function readPartitions(
  { log, carts, config }: Pick<Watched, 'log' | 'carts'> & { config: Pick<AuditConfig, 'consumerGroup'> },
  topic: string,
  targets: ReadonlyMap<number, bigint> | null = null,
): Promise<PartitionProgress[] | null> {
  const offsets = await log.readOffsets(topic).catch((error) => {
    if (error instanceof TopicMissingError) return null;
    throw error;
  });
  if (offsets === null) return null;
  const rows: NextOffsetRow[] = await carts.pool.query(readNextOffsets(config.consumerGroup, [topic]));
  const stored = new Map(rows.map((row) => [row.partition, row.next_offset]));
  return [...offsets].map(([partition, { earliest, highWatermark }]) => ({
    partition,
    nextOffset: stored.get(partition) ?? null,
    earliest,
    target: targets?.get(partition) ?? highWatermark,
  }));
}
