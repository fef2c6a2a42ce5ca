// Where the pipeline is: the reader's checkpoint, and up to where the sinks have applied. Guarantees: the databases and
// Kafka belong together, by the orders database's identity and the last published order, before anything is planned: a
// staging clone with production's brokers must not publish. Reads only.

import { createCheckpointTopic } from '#kafka/checkpoint-topic.ts';
import { TopicMissingError } from '#kafka/errors.ts';
import { type CaptureFingerprint, compareCapture, recordedOids } from '#schemas/capture-fingerprint.ts';
import { type Checkpoint, findWitness, parseCheckpoint } from '#schemas/checkpoint.ts';
import { contractSchema } from '#schemas/contract-tables.ts';
import { formatLsn, type Lsn } from '#schemas/lsn.ts';
import { type NextOffsetRow, readNextOffsets } from '../../cart-sink/sql/consumer-offsets.ts';
import { readIdentity } from '../../cdc-reader/postgres/slot.ts';
import { requireReadable } from '../captured/unreadable-rows.ts';
import { appliedThrough, type UnappliedEvent } from './applied-through.ts';
import type { Connections } from './connections.ts';
import { NotReadyError, PipelineMismatchError } from './errors.ts';
import { findFirstEvent, READ_DEADLINE_MS, readSettledOffsets } from './live-records.ts';

export interface PipelineState {
  readonly checkpoint: Checkpoint;
  /** Exclusive: what every sink partition has applied. */
  readonly appliedThroughLsn: Lsn;
}

type Connected = Pick<Connections, 'config' | 'log' | 'carts' | 'orders'>;

/** @throws NotReadyError, PipelineMismatchError */
export async function readPipelineState(connections: Connected): Promise<PipelineState> {
  const recorded = await readCheckpoint(connections);
  const { fingerprint } = await connections.orders.readCapture(connections.config.publicationName);
  await requireSamePipeline(connections, recorded, fingerprint);
  const checkpoint = withCapture(recorded, fingerprint);
  return { checkpoint, appliedThroughLsn: await readAppliedThrough(connections, checkpoint) };
}

/** An older reader recorded no tables: those of today are the ones it captured, where nothing that it did record differs. */
export function withCapture(checkpoint: Checkpoint, found: CaptureFingerprint): Checkpoint {
  if (!('version1' in checkpoint.capture)) return checkpoint;
  const isSame = compareCapture(checkpoint.capture, found).differences.length === 0;
  return isSame ? { ...checkpoint, capture: found } : checkpoint;
}

/** @throws NotReadyError */
export async function readCheckpoint({ config, log }: Connected): Promise<Checkpoint> {
  const { checkpointTopic, slotName } = config;
  const none = (why: string) =>
    new NotReadyError(`${why}: check SLOT_NAME and CHECKPOINT_TOPIC, or start the reader; there is nothing to replay`);
  try {
    const topic = createCheckpointTopic({ log, topic: checkpointTopic, slotName });
    const { record } = await topic.read(READ_DEADLINE_MS, 'last_stable_offset');
    if (record === null) throw none(`${checkpointTopic} holds no checkpoint of slot ${slotName}`);
    const checkpoint = parseCheckpoint(record);
    if (checkpoint.state === 'streaming') return checkpoint;
    throw new NotReadyError(
      `the reader's first start is not over (state ${checkpoint.state}): try again when it streams`,
    );
  } catch (error) {
    if (error instanceof TopicMissingError) throw none(`there is no topic ${checkpointTopic}`);
    throw error;
  }
}

async function requireSamePipeline(
  { config, log, orders }: Connected,
  checkpoint: Checkpoint,
  found: CaptureFingerprint,
): Promise<void> {
  const { systemIdentifier, database, throughLsn } = checkpoint;
  const identity = await readIdentity({
    databaseUrl: config.orderDatabaseUrl,
    applicationName: config.applicationName,
  });
  const refuse = (why: string) => {
    const of = `The checkpoint in ${config.checkpointTopic} is of database ${database} of the cluster ${systemIdentifier}`;
    return new PipelineMismatchError(`ORDER_DATABASE_URL: ${why}. ${of}, published through ${formatLsn(throughLsn)}.`);
  };
  if (identity.systemIdentifier !== systemIdentifier) {
    throw refuse(`that server belongs to the cluster ${identity.systemIdentifier}`);
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
    throw new PipelineMismatchError(`${has}, ${config.ordersTopic} uses ${checkpoint.partitions}: it needs as many`);
  }
}

/** A table that was replaced lacks what was published from the one before; that says nothing of the database. */
export function explainMissingWitness({ capture }: Pick<Checkpoint, 'capture'>, found: CaptureFingerprint): string {
  const replaced = recordedOids(capture).find(({ table, oid }) => found.tables[table]?.oid !== oid);
  if (replaced === undefined) {
    return 'that database lacks the order that was published last: it is an older copy, or was restored';
  }
  return (
    `${contractSchema}.${replaced.table} is not the table that the reader captured (oid ${replaced.oid}), and lacks the order ` +
    'that was published last. Put the captured tables back under their names, copy into them what was inserted into the ' +
    'others, run `npm run adopt -- reader`, start the reader, then replay'
  );
}

/** The checkpoint must have been read before. @throws NotReadyError */
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
  const unapplied: UnappliedEvent[] = [];
  for (const [partition, { lastStable: untilOffset }] of await readSettledOffsets(log, topic)) {
    const fromOffset = nextOffsets.get(partition) ?? 0n;
    const event = await findFirstEvent(log, { topic, partition, fromOffset, untilOffset });
    if (event !== null) unapplied.push({ partition, ...event });
  }
  return appliedThrough(checkpoint, unapplied);
}
