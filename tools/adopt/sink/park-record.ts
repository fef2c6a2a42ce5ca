// `npm run adopt -- sink --park`, top to bottom: shows the record, or the batch that can't be read, at which a
// partition has halted, asks, parks it and moves the
// partition behind it. Guarantees: only that record, and only while the partition stands at it; parked, moved and fenced in
// one transaction. A readable order is parked only if that was asked for: it leaves the cart as if it had never been placed.
import { createKafkaLog } from '#kafka/reading/log.ts';
import type { Database } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { parkHaltedRecord } from '../../../cart-sink/apply/decide-parked.ts';
import { formatParkCommand } from '../../../cart-sink/operations/repair-commands.ts';
import { requireCartTables } from '../../cart-tables.ts';
import type { AdoptSinkConfig } from '../../config.ts';
import { type Conversation, requireYes } from '../../confirm.ts';
import { openDatabase } from '../../connect.ts';
import type { Reading } from '../../describe-record.ts';
import { findHaltedPartitions, formatHaltedPartition } from '../../halted-partitions.ts';
import { REPLAY_TABLES } from '../../repairs.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { HaltedPartitionRow } from '../../sql/consumer-offsets.ts';
import type { ParkArguments } from '../arguments.ts';
import { readStandingUnit, type StandingUnit } from './standing-unit.ts';

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
  const unit = await readStandingUnit(log, config, halted);
  requireNamed(park, halted, unit);

  print(formatHaltedPartition(halted));
  print(`  message  ${halted.halted_message}`);
  print(`The ${unit.kind} at ${halted.topic}[${halted.partition}] offset ${unit.parked.offset}:`);
  for (const line of unit.lines) print(line);
  requireUnreadable(unit.reading, park);
  await requireYes(`Park this ${unit.kind}, and continue behind it?`, yes, conversation.streams);

  const parkedId = await parkHaltedRecord(carts.pool, {
    consumerGroup: config.consumerGroup,
    stands: { ...halted, nextOffset: halted.next_offset, ownerEpoch: halted.owner_epoch },
    record: unit.parked,
    replay: unit.replay,
  });
  if (parkedId === null) {
    throw new ToolRefusal(
      `a sink has taken or moved ${halted.topic}[${halted.partition}] meanwhile; nothing was changed, run this again`,
    );
  }
  for (const line of formatParked(halted, unit, parkedId, halted.topic === config.ordersTopic)) print(line);
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

/** @throws ToolRefusal if another offset was given than where the partition stands */
function requireNamed({ offset }: ParkArguments, halted: HaltedPartitionRow, { parked }: StandingUnit): void {
  if (offset === halted.next_offset || offset === parked.offset) return;
  throw new ToolRefusal(
    `${halted.topic}[${halted.partition}] stands at offset ${parked.offset}, not ${offset}: only the record at which a partition ` +
      `has halted can be parked, by ${formatParkCommand(halted, parked.offset)}`,
  );
}

/** @throws ToolRefusal if it can be read, and that was not expected */
function requireUnreadable(reading: Reading, { place, offset, readableOrder }: ParkArguments): void {
  if (reading.kind === 'unreadable' || readableOrder) return;
  const what = reading.kind === 'order' ? 'an order' : 'a record of the replay tool';
  throw new ToolRefusal(
    `this program reads ${what} in that record: deploy sinks of a version that can apply it. Only if none can, run ` +
      `\`${formatParkCommand(place, offset)} --readable-order\``,
  );
}

function formatParked(
  { topic, partition }: HaltedPartitionRow,
  { kind, parked }: StandingUnit,
  parkedId: bigint,
  isLive: boolean,
): string[] {
  const discard = `npm run parked -- discard ${parkedId} --reason TEXT`;
  const steps =
    kind === 'record'
      ? [`once a program reads it: npm run parked -- retry ${parkedId}   (or, if it is no order: ${discard})`]
      : [
          isLive
            ? `apply the orders that were in it: ${REPLAY_TABLES}`
            : 'run the replay again, from its first position',
          `once the audit finds no order missing: ${discard}`,
        ];
  return [
    `Done: parked as ${parkedId}; ${topic}[${partition}] continues behind offset ${parked.lastOffset}. A running sink goes on by ` +
      'itself within LAG_INTERVAL_MS; start one if none runs.',
    'Next:',
    ...[...steps, 'check: npm run audit'].map((step, index) => `  ${index + 1}. ${step}`),
  ];
}
