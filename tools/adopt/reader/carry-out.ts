// Carries out an accepted plan: fences whatever publishes, makes a new slot, resets the sinks' offsets for a new generation,
// and writes the checkpoint from which a reader can continue. Guarantees: the orders database is written to only through its
// slots; the checkpoint comes last, so that a run which is killed leaves a halt, and another run completes it. The replay
// window's slot stays, unless what is captured has changed: WAL from before that change is of no use.

import { deleteTopicCommand } from '#kafka/topic-commands.ts';
import { type Checkpoint, formatCheckpoint, parseCheckpoint } from '#schemas/checkpoint.ts';
import { type Lsn, parseLsn } from '#schemas/lsn.ts';
import { windowSlotName } from '#schemas/resource-names.ts';
import type { Database } from '#service/database.ts';
import { failpoint } from '#service/failpoint.ts';
import { createSlot, dropSlot } from '../../../cdc-reader/postgres/slot.ts';
import { fence, READ_DEADLINE_MS } from '../../../cdc-reader/startup/kafka-connection.ts';
import { readPartitionTails, readSettledTopicId } from '../../../cdc-reader/startup/live-topic.ts';
import { requireUsableCapture } from '../../../cdc-reader/startup/usable-capture.ts';
import { withSourceSession } from '../../connect.ts';
import { formatRepairs, readWindowFrom } from '../../repairs.ts';
import { ToolRefusal } from '../../run-tool.ts';
import { type GroupPositionRow, readGroupPositions, resetTopicOffsets } from '../../sql/consumer-offsets.ts';
import { setParkedAside } from '../../sql/parked-events.ts';
import type { Servers } from './adopt-reader.ts';
import { findUnapplied, type GroupPosition } from './gap.ts';
import { buildCheckpoint, type ReaderFacts, type ReaderPlan } from './plan-reader.ts';

export interface Adopted {
  readonly checkpoint: Checkpoint;
  /** The consumer groups whose offsets were reset; null if the generation goes on. */
  readonly groups: readonly string[] | null;
  /** The commands that close the gap, the surest last. */
  readonly repairs: readonly string[];
}

/** `generation`: the one of the checkpoint to write. @throws ToolRefusal if a reader has published since the inspection */
export async function carryOut(
  servers: Servers,
  facts: ReaderFacts,
  plan: ReaderPlan,
  generation: number,
  print: (line: string) => void,
): Promise<Adopted> {
  const { config, logger, kafka, source, carts } = servers;
  const { slotName, ordersTopic } = config;
  const isNew = plan.newGeneration !== null;
  await kafka.ensureTopics(null);
  return await withFencedCheckpoint(servers, facts, async (writeCheckpoint) => {
    await failpoint('adopt.fenced');
    const liveTopicId = await readSettledTopicId(kafka.log, ordersTopic, facts.liveTopicId);
    const live = await readPartitionTails(kafka.log, ordersTopic, READ_DEADLINE_MS);
    if (isNew) requireEmpty(ordersTopic, live);
    // Before the slot is created: a change from now on alters the fingerprint, so the reader finds it.
    const { fingerprint: capture } = await source.readCapture(config.publicationName);
    await requireUsableCapture(config, source, capture);
    const consistentPoint = await replaceSlot(servers, facts, plan, print);
    const reset = isNew ? await resetOffsets(carts(), ordersTopic, generation, liveTopicId) : null;
    await failpoint('adopt.offsets-reset');
    const checkpoint = buildCheckpoint(facts, plan, {
      slotName,
      consistentPoint,
      capture,
      live,
      generation,
      liveTopicId,
    });
    await writeCheckpoint(checkpoint);
    await failpoint('adopt.checkpoint-written');
    const gaps = reset === null ? checkpoint.gaps : findUnapplied(facts, reset.applied, checkpoint);
    const server = { postgres: config.orderDatabase, applicationName: config.applicationName, logger };
    const windowFromLsn = plan.isInWal
      ? await withSourceSession(server, (session) => readWindowFrom(session, slotName))
      : null;
    return { checkpoint, groups: reset?.groups ?? null, repairs: formatRepairs(gaps, windowFromLsn) };
  });
}

/** The reader repeats the first start with the tables of today; orders that were published are not published again. */
export function acceptChangeInFirstStart(servers: Servers, facts: ReaderFacts, checkpoint: Checkpoint): Promise<void> {
  return withFencedCheckpoint(servers, facts, (writeCheckpoint) =>
    writeCheckpoint({ ...checkpoint, state: 'intent', capture: facts.capture }),
  );
}

/** Positions of two generations in one topic could not be compared. @throws ToolRefusal if `live` holds records */
export function requireEmpty(ordersTopic: string, live: ReaderFacts['live']): void {
  if (live === null || (live !== 'unreadable' && live.every(({ end }) => end === 0n))) return;
  throw new ToolRefusal(
    `a new generation needs an empty live topic, and ${ordersTopic} holds records. Let the sinks drain it, then either set ` +
      `ORDERS_TOPIC to a new name for reader and sinks, or delete the topic by ${deleteTopicCommand(ordersTopic)}; and run this again`,
  );
}

/** Runs `work` while no reader can publish. @throws ToolRefusal if one has published since the inspection */
async function withFencedCheckpoint<T>(
  { config, logger, kafka }: Servers,
  facts: ReaderFacts,
  work: (write: (checkpoint: Checkpoint) => Promise<void>) => Promise<T>,
): Promise<T> {
  await using resources = new AsyncDisposableStack();
  const producer = resources.adopt(await fence(config, logger), (one) => one.close());
  if (facts.checkpoint !== null) {
    const { record } = await kafka.checkpointTopic.read(READ_DEADLINE_MS);
    if (record === null || !formatCheckpoint(parseCheckpoint(record)).equals(formatCheckpoint(facts.checkpoint))) {
      throw new ToolRefusal('a reader has published meanwhile; stop every reader and run this again');
    }
  }
  return await work(async (checkpoint) => {
    const transaction = await producer.begin();
    await transaction.send([kafka.checkpointTopic.record(formatCheckpoint(checkpoint))]);
    await transaction.commit();
  });
}

/** Returns the new slot's consistent point. */
async function replaceSlot(
  { config, source }: Servers,
  { slotExists, identity }: ReaderFacts,
  { isInWal }: ReaderPlan,
  print: (line: string) => void,
): Promise<Lsn> {
  const { slotName, applicationName } = config;
  const server = { postgres: config.orderDatabase, applicationName };
  const windowName = windowSlotName(slotName);
  const dropsWindow = !isInWal && (await source.readSlot(windowName)) !== null;
  if (slotExists) await dropSlot({ ...server, slotName });
  if (dropsWindow) await dropSlot({ ...server, slotName: windowName });
  await failpoint('adopt.slot-dropped');
  print('Creating the slot. This waits for the transactions that are open now.');
  const slot = await createSlot({ ...server, slotName, serverVersion: identity.serverVersion });
  await slot.close();
  await failpoint('adopt.slot-created');
  return slot.consistentPoint;
}

/**
 * Announces the new generation to the sinks: all their offsets of the topic go back to 0 in one transaction, and what was
 * parked from it is set aside. The ledger stays, so that no order takes effect twice. Repeating it gives the same result.
 */
function resetOffsets(
  { pool }: Pick<Database, 'pool'>,
  topic: string,
  generation: number,
  topicId: string | null,
): Promise<{ readonly groups: readonly string[]; readonly applied: readonly GroupPosition[] }> {
  return pool.tx(async (tx) => {
    const applied: GroupPositionRow[] = await tx.query(readGroupPositions(topic));
    const rows: { consumer_group: string; partition: number; owner_epoch: bigint }[] = await tx.query(
      resetTopicOffsets(topic, generation, topicId),
    );
    for (const { consumer_group: consumerGroup, partition, owner_epoch } of rows) {
      await tx.query(setParkedAside({ consumerGroup, topic, partition }, owner_epoch));
    }
    return {
      groups: [...new Set(rows.map((row) => row.consumer_group))],
      applied: applied.map((row) => ({
        positions: row.positions,
        timelines: [row.first_timeline, row.last_timeline],
        lowestLsn: row.lowest_lsn === null ? null : parseLsn(row.lowest_lsn),
      })),
    };
  });
}
