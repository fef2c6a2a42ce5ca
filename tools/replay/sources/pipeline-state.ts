// The state of the pipeline: the reader's checkpoint, and the position through which the sinks have applied. Guarantees: before
// anything is planned, the databases and Kafka belong together, by the identity of the orders database and the last published
// order: a staging clone with production's brokers must not publish. Reads only.

import { type CaptureFingerprint, compareCapture, recordedOids } from '#schemas/capture-fingerprint.ts';
import { type Checkpoint, findWitness } from '#schemas/checkpoint.ts';
import { contractSchema } from '#schemas/contract-tables.ts';
import { formatLsn, LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import type { OrderPlaced } from '#schemas/order-placed.ts';
import { type NextOffsetRow, readNextOffsets } from '../../../cart-sink/sql/consumer-offsets.ts';
import { readIdentity } from '../../../cdc-reader/postgres/slot.ts';
import { requireReadable } from '../../captured/unreadable-rows.ts';
import { READ_DEADLINE_MS, readCheckpoint } from '../../read-checkpoint.ts';
import type { Connections } from '../cli/connections.ts';
import { NotReadyError, PipelineMismatchError } from '../cli/errors.ts';
import { findFirstEvent, readStableOffsets } from './live-records.ts';

export interface PipelineState {
  readonly checkpoint: Checkpoint;
  /** Exclusive: what every sink partition has applied. */
  readonly appliedThroughLsn: Lsn;
}

type Connected = Pick<Connections, 'config' | 'log' | 'carts' | 'orders'>;

/** @throws NotReadyError, PipelineMismatchError */
export async function readPipelineState(connections: Connected): Promise<PipelineState> {
  const recorded = await readStreamingCheckpoint(connections);
  const { fingerprint } = await connections.orders.readCapture(connections.config.publicationName);
  await requireSamePipeline(connections, recorded, fingerprint);
  const checkpoint = withCapture(recorded, fingerprint);
  return { checkpoint, appliedThroughLsn: await readAppliedThrough(connections, checkpoint) };
}

/** An older reader recorded no tables: today's are the captured ones if nothing that it did record differs. */
export function withCapture(checkpoint: Checkpoint, found: CaptureFingerprint): Checkpoint {
  if (!('version1' in checkpoint.capture)) return checkpoint;
  const isSame = compareCapture(checkpoint.capture, found).differences.length === 0;
  return isSame ? { ...checkpoint, capture: found } : checkpoint;
}

/** @throws NotReadyError */
export async function readStreamingCheckpoint({ config, log }: Pick<Connected, 'config' | 'log'>): Promise<Checkpoint> {
  const { checkpointTopic, slotName } = config;
  const checkpoint = await readCheckpoint(log, config);
  if (checkpoint?.state === 'streaming') return checkpoint;
  throw new NotReadyError(
    checkpoint === null
      ? `there is nothing to replay: ${checkpointTopic} holds no checkpoint of slot ${slotName}. Check SLOT_NAME and ` +
          'CHECKPOINT_TOPIC, or start the reader'
      : `the reader's first start is not finished (state ${checkpoint.state}): run this again once it streams`,
  );
}

async function requireSamePipeline(
  { config, log, orders }: Connected,
  checkpoint: Checkpoint,
  found: CaptureFingerprint,
): Promise<void> {
  const { systemIdentifier, database, throughLsn } = checkpoint;
  const identity = await readIdentity({
    postgres: config.orderDatabase,
    applicationName: config.applicationName,
  });
  const refuse = (why: string) => {
    const of = `The checkpoint in ${config.checkpointTopic} belongs to database ${database} of cluster ${systemIdentifier}`;
    return new PipelineMismatchError(`ORDER_DATABASE_URL: ${why}. ${of}, published through ${formatLsn(throughLsn)}.`);
  };
  if (identity.systemIdentifier !== systemIdentifier) {
    throw refuse(`that server belongs to cluster ${identity.systemIdentifier}`);
  }
  if (identity.database !== database) throw refuse(`that database is ${identity.database}`);
  const witness = findWitness(checkpoint);
  if (witness !== null) {
    const { size } = await requireReadable('ORDER_DATABASE_URL', () => orders.orderExists([witness]));
    if (size === 0) throw refuse(explainMissingWitness(checkpoint, found));
  }
  const replayPartitions = (await log.readOffsets(config.replayTopic, READ_DEADLINE_MS)).size;
  if (replayPartitions < checkpoint.partitions) {
    const has = `REPLAY_TOPIC: ${config.replayTopic} has ${replayPartitions} partitions`;
    throw new PipelineMismatchError(
      `${has}, ${config.ordersTopic} uses ${checkpoint.partitions}: it needs at least as many`,
    );
  }
}

/** A replaced table lacks what was published from the captured one; that proves nothing about the database. */
export function explainMissingWitness({ capture }: Pick<Checkpoint, 'capture'>, found: CaptureFingerprint): string {
  const replaced = recordedOids(capture).find(({ table, oid }) => found.tables[table]?.oid !== oid);
  if (replaced === undefined) {
    return 'that database lacks the last published order: it is an older copy, or was restored';
  }
  return (
    `${contractSchema}.${replaced.table} is not the table that the reader captured (oid ${replaced.oid}), and lacks the last ` +
    'published order. Put the captured tables back under their names, copy into them what was inserted into the ' +
    'others, run `npm run adopt -- reader`, start the reader, then replay'
  );
}

/**
 * Read the checkpoint before: what it covers is then below the high watermarks read here. @throws NotReadyError
 */
export async function readAppliedThrough(
  { config, log, carts }: Pick<Connections, 'config' | 'log' | 'carts'>,
  checkpoint: Checkpoint,
): Promise<Lsn> {
  const { consumerGroup, ordersTopic: topic } = config;
  const rows: NextOffsetRow[] = await carts.pool.query(readNextOffsets(consumerGroup, [topic]));
  if (rows.length === 0) {
    const why = `no sink of CONSUMER_GROUP ${consumerGroup} has ever consumed ${topic} into this carts database`;
    throw new NotReadyError(`${why}: start a cart-sink, or correct the variables`);
  }
  const nextOffsets = new Map(rows.map((row) => [row.partition, row.next_offset]));
  const unapplied: OrderPlaced[] = [];
  for (const [partition, { lastStable: untilOffset }] of await readStableOffsets(log, topic)) {
    const fromOffset = nextOffsets.get(partition) ?? 0n;
    const found = await findFirstEvent(log, { topic, partition, fromOffset, untilOffset });
    if (found !== null) unapplied.push(found.event);
  }
  return appliedThrough(checkpoint, unapplied);
}

/**
 * Pure. `firstUnapplied`: by partition. Exclusive: every order with a smaller commit position is applied. Within a partition positions increase (I4), so the
 * first unapplied event of each bounds it; one of an older generation bounds nothing in this generation, so nothing counts.
 */
export function appliedThrough(
  checkpoint: { readonly throughLsn: Lsn; readonly generation: number },
  firstUnapplied: readonly Pick<OrderPlaced, 'generation' | 'commitLsn'>[],
): Lsn {
  let throughLsn = checkpoint.throughLsn;
  for (const { generation, commitLsn } of firstUnapplied) {
    const bound = generation < checkpoint.generation ? LSN_ZERO : commitLsn;
    if (bound < throughLsn) throughLsn = bound;
  }
  return throughLsn;
}
