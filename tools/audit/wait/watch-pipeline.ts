// Polls reader and sinks until both have passed the snapshot of an audit, a partition has halted, or the time is up. Which positions must be reached,
// and what a delay means, is progress.ts's.
import { setTimeout as delay } from 'node:timers/promises';
import { TopicMissingError } from '#kafka/errors.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import type { Lsn } from '#schemas/lsn.ts';
import type { Database } from '#service/database.ts';
import { type NextOffsetRow, readNextOffsets } from '../../../cart-sink/sql/consumer-offsets.ts';
import type { SourceSession } from '../../../cdc-reader/postgres/source-session.ts';
import type { AuditConfig } from '../../config.ts';
import { findHaltedPartitions, formatHaltedPartition } from '../../halted-partitions.ts';
import { readCheckpoint } from '../../read-checkpoint.ts';
import {
  explainDelay,
  findBehind,
  formatProgress,
  hasReaderPassed,
  type PartitionProgress,
  type ReaderProgress,
} from './progress.ts';

const POLL_EVERY_MS = 200;

export interface Watched {
  readonly source: Pick<SourceSession, 'readSlot'>;
  readonly log: KafkaLog;
  readonly carts: Database;
  readonly config: Pick<AuditConfig, 'consumerGroup' | 'ordersTopic' | 'checkpointTopic' | 'slotName'>;
}

/** Why the snapshot was not passed, in lines; `halted`: a partition of the live topic will not pass it by itself. */
export type Wait = { readonly kind: 'passed' } | { readonly kind: 'halted' | 'late'; readonly why: readonly string[] };

/** Waits for `waitMs` at most, and for no partition that has halted. `show` gets the progress. */
export async function waitForPipeline(
  watched: Watched,
  targetLsn: Lsn,
  waitMs: number,
  show: (line: string) => void,
): Promise<Wait> {
  const { source, log, carts, config } = watched;
  const giveUpMs = performance.now() + waitMs;
  let targets: Map<number, bigint> | null = null;
  for (;;) {
    const halted = await findHaltedPartitions(carts, config.consumerGroup, [config.ordersTopic]);
    if (halted.length > 0) return { kind: 'halted', why: halted.map(formatHaltedPartition) };
    const checkpoint = await readCheckpoint(log, config);
    const throughLsn = checkpoint?.state === 'streaming' ? checkpoint.throughLsn : null;
    const reader: ReaderProgress = { throughLsn, slot: await source.readSlot(config.slotName) };
    let partitions: PartitionProgress[] | null = null;
    if (targets !== null || hasReaderPassed(reader, targetLsn)) {
      const progress = await readPartitions(watched, config.ordersTopic, targets);
      if (progress === null) return { kind: 'late', why: [`the live topic ${config.ordersTopic} does not exist`] };
      targets ??= new Map(progress.map(({ partition, target }) => [partition, target]));
      partitions = progress;
      if (findBehind(partitions).length === 0) return { kind: 'passed' };
    }
    show(formatProgress(targetLsn, reader, partitions));
    if (performance.now() >= giveUpMs) {
      return { kind: 'late', why: explainDelay(targetLsn, config.slotName, reader, partitions) };
    }
    await delay(POLL_EVERY_MS);
  }
}

/**
 * The sinks' offsets in a topic; null if it does not exist. Without `targets`, the target is the high watermark, which
 * includes open transactions.
 */
export async function readPartitions(
  { log, carts, config }: Watched,
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
