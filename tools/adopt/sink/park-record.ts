// `npm run adopt -- sink --park`, top to bottom: shows the record at which a partition has halted, asks, parks it and moves the
// partition behind it. Guarantees: only that record, and only while the partition stands at it; parked, moved and fenced in
// one transaction. A readable order is parked only if that was asked for: it leaves the cart as if it had never been placed.
import { createKafkaLog, type KafkaLog, type LogRecord } from '#kafka/reading/log.ts';
import { addToTally, EMPTY_TALLY, parseReplayHeaders } from '#schemas/replay/records.ts';
import type { Database } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { type HaltedRecord, parkHaltedRecord } from '../../../cart-sink/apply/decide-parked.ts';
import { requireCartTables } from '../../cart-tables.ts';
import type { AdoptSinkConfig } from '../../config.ts';
import { type Conversation, requireYes } from '../../confirm.ts';
import { openDatabase } from '../../connect.ts';
import { formatRecord, type Reading, readRecord } from '../../describe-record.ts';
import { findHaltedPartitions, formatHaltedPartition, formatParkCommand } from '../../halted-partitions.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { HaltedPartitionRow } from '../../sql/consumer-offsets.ts';
import type { ParkArguments } from '../arguments.ts';

const APPLICATION_NAME = 'tillstream-adopt';

export interface ParkRecordOptions {
  readonly config: AdoptSinkConfig;
  readonly park: ParkArguments;
  readonly yes: boolean;
  readonly conversation: Conversation;
  readonly logger: Logger;
}

/** @throws ToolRefusal with nothing changed */
export async function parkRecord({ config, park, yes, conversation, logger }: ParkRecordOptions): Promise<void> {
  const { print } = conversation;
  await using resources = new AsyncDisposableStack();
  const server = { postgres: config.cartDatabase, applicationName: APPLICATION_NAME, logger };
  const carts = resources.adopt(openDatabase(server, { statementTimeoutMs: 30_000 }), (one) => one.close());
  const log = resources.adopt(
    await createKafkaLog({ kafka: config.kafka, clientId: APPLICATION_NAME, logger }),
    (one) => one.close(),
  );
  await requireCartTables(carts);
  const halted = await findHalted(carts, config, park);
  const record = await readStandingRecord(log, halted);
  requireNamed(park, halted, record);

  const found = parseReplayHeaders(record.headers);
  const kind = halted.topic === config.ordersTopic ? 'live' : (found?.kind ?? 'unmarked');
  const reading = readRecord(record, kind);
  print(formatHaltedPartition(halted));
  print(`  message  ${halted.halted_message}`);
  print(`The record at ${halted.topic}[${halted.partition}] offset ${record.offset}:`);
  for (const line of formatRecord(record, reading)) print(line);
  requireUnreadable(reading, park);
  await requireYes('Park this record, and continue behind it?', yes, conversation.streams);

  const isReplayedOrder = kind === 'order' && record.key !== null && record.value !== null;
  const parkedId = await parkHaltedRecord(carts.pool, {
    consumerGroup: config.consumerGroup,
    stands: { ...halted, nextOffset: halted.next_offset, ownerEpoch: halted.owner_epoch },
    record: { ...record, reason: `parked by an operator after ${halted.halted_code}: ${describeReading(reading)}` },
    replay: isReplayedOrder
      ? { runId: found!.stamp.runId, tally: addToTally(EMPTY_TALLY, record.key, record.value) }
      : undefined,
  } satisfies HaltedRecord);
  if (parkedId === null) {
    throw new ToolRefusal(
      `a sink has taken or moved ${halted.topic}[${halted.partition}] meanwhile; nothing was changed, run this again`,
    );
  }
  for (const line of formatParked(halted, record, parkedId)) print(line);
}

/** @throws ToolRefusal unless the partition has halted */
async function findHalted(
  carts: Database,
  { consumerGroup, ordersTopic, replayTopic }: AdoptSinkConfig,
  { place: { topic, partition } }: ParkArguments,
): Promise<HaltedPartitionRow> {
  if (topic !== ordersTopic && topic !== replayTopic) {
    throw new ToolRefusal(`the sinks consume ${ordersTopic} and ${replayTopic}, not ${topic}`);
  }
  const all = await findHaltedPartitions(carts, consumerGroup, [topic]);
  const found = all.find((row) => row.partition === partition);
  if (found !== undefined) return found;
  throw new ToolRefusal(
    `${topic}[${partition}] has not halted for CONSUMER_GROUP ${consumerGroup}, so no record of it is parked` +
      (all.length === 0 ? '' : `; halted: ${all.map((row) => `${topic}[${row.partition}]`).join(', ')}`),
  );
}

/** The first committed record from where the partition stands: control and aborted records may lie before it. */
async function readStandingRecord(
  log: KafkaLog,
  { topic, partition, next_offset: fromOffset }: HaltedPartitionRow,
): Promise<LogRecord> {
  const offsets = (await log.readOffsets(topic, READ_DEADLINE_MS)).get(partition);
  const isHeld = offsets !== undefined && offsets.earliest <= fromOffset && fromOffset < offsets.lastStable;
  if (isHeld) {
    const range = { topic, partition, fromOffset, untilOffset: offsets.lastStable };
    const read = { ...range, isolation: 'read_committed', deadlineMs: READ_DEADLINE_MS } as const;
    for await (const [first] of log.readRecords(read)) if (first !== undefined) return first;
  }
  const has = offsets === undefined ? 'has no such partition' : `holds ${offsets.earliest} to ${offsets.lastStable}`;
  throw new ToolRefusal(
    `Kafka has no record to park at offset ${fromOffset} of ${topic}[${partition}]: it ${has}. Records that are gone are adopted ` +
      'by `npm run adopt -- sink`',
  );
}

/** @throws ToolRefusal if another offset was given than where the partition stands */
function requireNamed({ offset }: ParkArguments, halted: HaltedPartitionRow, record: LogRecord): void {
  if (offset === halted.next_offset || offset === record.offset) return;
  throw new ToolRefusal(
    `${halted.topic}[${halted.partition}] stands at offset ${record.offset}, not ${offset}: only the record at which a partition ` +
      `has halted can be parked, by ${formatParkCommand(halted, record.offset)}`,
  );
}

/** @throws ToolRefusal if it can be read, and that was not expected */
function requireUnreadable(reading: Reading, { readableOrder }: ParkArguments): void {
  if (reading.kind === 'unreadable' || readableOrder) return;
  const what = reading.kind === 'order' ? 'an order' : 'a record of the replay tool';
  throw new ToolRefusal(
    `this program reads ${what} in that record: deploy sinks of a version that can apply it. Only if none can, add --readable-order`,
  );
}

function describeReading(reading: Reading): string {
  if (reading.kind === 'unreadable') return reading.why;
  return reading.kind === 'order' ? 'a readable order' : 'a record of the replay tool';
}

function formatParked({ topic, partition }: HaltedPartitionRow, { offset }: LogRecord, parkedId: bigint): string[] {
  return [
    `Done: parked as ${parkedId}; ${topic}[${partition}] continues behind offset ${offset}. A running sink goes on by itself ` +
      'within LAG_INTERVAL_MS; start one if none runs.',
    'Next:',
    `  1. once a program reads it: npm run parked -- retry ${parkedId}   (or, if it is no order: npm run parked -- discard ` +
      `${parkedId} --reason TEXT)`,
    '  2. check: npm run audit',
  ];
}
