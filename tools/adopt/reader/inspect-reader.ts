// Finds what the reader would halt with, by the reader's own checks. Guarantees: reads only, and fences nobody. Refuses what
// adopting can't mend: a slot in use, another cluster, a first start that is not finished, a database that no reader could
// stream from.
import { setTimeout as delay } from 'node:timers/promises';
import { TopicMissingError } from '#kafka/errors.ts';
import { compareCapture, describeMoved } from '#schemas/capture-fingerprint.ts';
import { type Checkpoint, findWitness } from '#schemas/checkpoint.ts';
import { HaltError } from '#service/halt.ts';
import type { CdcReaderConfig } from '../../../cdc-reader/config.ts';
import {
  captureChanged,
  LiveTopicChangedError,
  LiveTopicMissingError,
  SlotDroppedError,
  SlotForeignError,
  SystemChangedError,
} from '../../../cdc-reader/errors.ts';
import { readIdentity } from '../../../cdc-reader/postgres/slot.ts';
import type { SlotState } from '../../../cdc-reader/postgres/source-session.ts';
import type { SourceIdentity } from '../../../cdc-reader/postgres/walsender.ts';
import { checkContinuity } from '../../../cdc-reader/startup/continuity.ts';
import { type KafkaConnection, READ_DEADLINE_MS } from '../../../cdc-reader/startup/kafka-connection.ts';
import { readPartitionTails, readSettledTopicId } from '../../../cdc-reader/startup/live-topic.ts';
import { findPreflightProblems } from '../../../cdc-reader/startup/preflight.ts';
import { explainMissingCheckpoint, findCheckpoint } from '../../../cdc-reader/startup/verified-checkpoint.ts';
import { findCapturedTables } from '../../captured/old-tables.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { Servers } from './adopt-reader.ts';
import type { ReaderFacts } from './plan-reader.ts';

/** By default brokers check every ten seconds for transactions that have timed out. */
const TIMED_OUT_GRACE_MS = 15_000;
const RETRY_AFTER_MS = 200;

/** The captured tables are not under their names, and no reader could stream from today's: they must be put back first. */
export class TablesReplacedRefusal extends ToolRefusal {
  readonly facts: Pick<ReaderFacts, 'checkpoint' | 'capture' | 'tableNames'>;

  constructor(message: string, facts: TablesReplacedRefusal['facts']) {
    super(message);
    this.facts = facts;
  }
}

/** @throws ToolRefusal if adopting can't mend what is wrong */
export async function inspectReader(
  { config, source, kafka }: Pick<Servers, 'config' | 'source' | 'kafka'>,
  print: (line: string) => void,
): Promise<ReaderFacts> {
  const preflight = await source.preflightFacts(config);
  const problems = findPreflightProblems(preflight, config);
  const identity = await readIdentity({
    postgres: config.orderDatabase,
    applicationName: config.applicationName,
  });
  const slot = await source.readSlot(config.slotName);
  requireFreeSlot(config, identity, slot);
  const { flushLsn } = await source.readCurrentWal();
  const found = await readCheckpoint(config, kafka, slot);
  const { checkpoint } = found;
  if (checkpoint !== null) requireSameSource(config, identity, checkpoint);
  const capture = preflight.capture.fingerprint;
  const differences = checkpoint === null ? [] : compareCapture(checkpoint.capture, capture).differences;
  const captured = checkpoint === null ? [] : findCapturedTables(checkpoint.capture, capture);
  const tableNames = await source.readTableNames(captured.map(({ oid }) => oid));
  const changed = (one: Checkpoint) =>
    captureChanged(
      config.publicationName,
      differences,
      describeMoved(one.capture, tableNames),
      one.throughLsn,
      flushLsn,
    );
  if (problems.length > 0) {
    const first = `correct this first: ${problems.map(({ problem, remedy }) => `${problem} ${remedy}`).join(' ')}`;
    // For replaced tables the remedy is to put the captured ones back; to mend the new ones is the other one.
    if (checkpoint !== null && differences.some(({ subject }) => subject === 'table')) {
      const message = `${changed(checkpoint).message} For the tables of today, ${first}`;
      throw new TablesReplacedRefusal(message, { checkpoint, capture, tableNames });
    }
    throw new ToolRefusal(first);
  }

  const live = await readLive(config, kafka, print);
  const witness = checkpoint === null ? null : findWitness(checkpoint);
  const facts = {
    identity,
    flushLsn,
    slotExists: slot !== null,
    tableNames,
    capture,
    checkpoint,
    lastOrderExists: witness === null ? null : (await source.orderExists([witness])).has(witness),
    live: live instanceof HaltError ? ('unreadable' as const) : live,
    liveTopicId:
      live === null ? null : await readSettledTopicId(kafka.log, config.ordersTopic, checkpoint?.liveTopicId ?? null),
  };
  if (checkpoint !== null && checkpoint.state !== 'streaming') {
    if (differences.length > 0 && checkpoint.lastPublished !== null) return { ...facts, halt: changed(checkpoint) };
    throw new ToolRefusal('the first start is not finished: start the reader, which repeats it (npm run cdc-reader)');
  }
  const halt = found.halt ?? (live instanceof HaltError ? live : findHalt(config, facts, slot));
  return { ...facts, halt };
}

function requireFreeSlot(config: CdcReaderConfig, identity: SourceIdentity, slot: SlotState | null): void {
  const { slotName } = config;
  if (slot?.active === true) {
    throw new ToolRefusal(
      `server process ${slot.activePid} streams from the slot ${slotName}, so the reader has not halted: stop that reader or other client first`,
    );
  }
  if (slot !== null && (slot.plugin !== 'pgoutput' || slot.database !== identity.database)) {
    throw new ToolRefusal(new SlotForeignError(slotName, slot.plugin, slot.database).message);
  }
}

async function readCheckpoint(
  config: CdcReaderConfig,
  kafka: KafkaConnection,
  slot: SlotState | null,
): Promise<{ checkpoint: Checkpoint | null; halt: HaltError | null }> {
  let found: Awaited<ReturnType<typeof findCheckpoint>>;
  try {
    found = await findCheckpoint(config, kafka, 'last_stable_offset', true);
  } catch (error) {
    if (error instanceof HaltError) return { checkpoint: null, halt: error };
    throw error;
  }
  const { checkpoint, isHidden } = found;
  if (checkpoint !== null) {
    if (isHidden) {
      const hidden = `a transaction is open in ${config.checkpointTopic}, which may hold a newer checkpoint`;
      throw new ToolRefusal(
        `${hidden}; it ends by itself, at the latest at its timeout: run this again in a minute. If it stays, abort it (kafka-transactions.sh find-hanging, abort)`,
      );
    }
    return { checkpoint, halt: null };
  }
  const liveOffsets = await kafka.countLiveOffsets(true);
  if (slot === null && liveOffsets === 0n && !isHidden) {
    throw new ToolRefusal('there is no checkpoint, no slot and no event: start the reader, it makes its first start');
  }
  const missing = explainMissingCheckpoint(config, { isHidden, slot, liveOffsets });
  if (!(missing instanceof HaltError)) throw new ToolRefusal(`${missing.message} Run this again in a minute.`);
  return { checkpoint: null, halt: missing };
}

/** Positions of two clusters can't be compared, so slot and topic of another one can't be adopted. */
function requireSameSource(config: CdcReaderConfig, identity: SourceIdentity, checkpoint: Checkpoint): void {
  if (identity.systemIdentifier === checkpoint.systemIdentifier && identity.database === checkpoint.database) return;
  const { code, details } = new SystemChangedError(identity, checkpoint);
  throw new ToolRefusal(
    [
      `${code}: ${details.found} is not ${details.expected}, which ${config.ordersTopic} was published from. If it replaces that database:`,
      `  1. let the sinks drain ${config.ordersTopic} (their lag in /health/ready is 0), then stop them;`,
      '  2. set ORDERS_TOPIC to a new name for reader and sinks, and SLOT_NAME for the reader;',
      '  3. start both: the first start publishes every order, and the sinks skip those in the ledger;',
      '  4. npm run audit',
      'Otherwise correct ORDER_DATABASE_URL, KAFKA_BROKERS or CHECKPOINT_TOPIC.',
    ].join('\n'),
  );
}

/** Null if the topic does not exist; the halt if it holds a record that no reader wrote. */
async function readLive(config: CdcReaderConfig, kafka: KafkaConnection, print: (line: string) => void) {
  const giveUpMs = performance.now() + config.transactionTimeoutMs + TIMED_OUT_GRACE_MS;
  for (let isFirst = true; ; isFirst = false) {
    try {
      return await readPartitionTails(kafka.log, config.ordersTopic, READ_DEADLINE_MS);
    } catch (error) {
      if (error instanceof TopicMissingError) return null;
      if (error instanceof LiveTopicChangedError) return error;
      if (!isUnsettled(error) || performance.now() > giveUpMs) throw error;
      if (isFirst) print('Waiting for the end of a transaction that a reader left open in the live topic.');
      await delay(RETRY_AFTER_MS);
    }
  }
}

/** A transaction is open in the topic. */
function isUnsettled(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'LIVE_TOPIC_UNSETTLED';
}

function findHalt(config: CdcReaderConfig, facts: Omit<ReaderFacts, 'halt'>, slot: SlotState | null): HaltError | null {
  const { checkpoint, identity, flushLsn, live } = facts;
  if (checkpoint === null || live === 'unreadable') return null; // known already
  if (live === null) return new LiveTopicMissingError(config.ordersTopic, checkpoint.throughLsn, flushLsn);
  if (slot === null) return new SlotDroppedError(config.slotName, checkpoint.throughLsn, flushLsn);
  try {
    checkContinuity(checkpoint, {
      isNewest: true,
      source: { ...identity, flushLsn },
      slot: { name: config.slotName, ...slot },
      capture: { publicationName: config.publicationName, found: facts.capture, names: facts.tableNames },
      lastOrderExists: facts.lastOrderExists,
      live,
      liveTopicId: facts.liveTopicId,
    });
    return null;
  } catch (error) {
    if (error instanceof HaltError) return error;
    throw error;
  }
}
