// `npm run adopt -- sink`, top to bottom: shows where sinks and Kafka stand, asks, and moves the offsets of the partitions that
// can't continue. Guarantees: nothing changes before the yes; all partitions move in one transaction, or none; a sink that
// still holds one is fenced; ledger and parked events are kept, so that no order takes effect twice.
import { createKafkaLog } from '#kafka/reading/log.ts';
import { formatPosition } from '#schemas/position.ts';
import type { Database } from '#service/database.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import type { AdoptSinkConfig } from '../../config.ts';
import { type Conversation, requireYes } from '../../confirm.ts';
import { openDatabase } from '../../connect.ts';
import { findHaltedPartitions, formatHaltedPartition } from '../../halted-partitions.ts';
import { ToolRefusal } from '../../run-tool.ts';
import { moveOffset } from '../../sql/consumer-offsets.ts';
import { setParkedAside } from '../../sql/parked-events.ts';
import { inspectSink, type SinkFacts } from './inspect-sink.ts';
import { formatSinkRepairs, type SinkMove } from './plan-sink.ts';

const APPLICATION_NAME = 'tillstream-adopt';

export interface AdoptSinkOptions {
  readonly config: AdoptSinkConfig;
  readonly yes: boolean;
  readonly conversation: Conversation;
  readonly logger: Logger;
}

/** @throws ToolRefusal with nothing changed */
export async function adoptSink({ config, yes, conversation, logger }: AdoptSinkOptions): Promise<void> {
  const { print } = conversation;
  await using resources = new AsyncDisposableStack();
  const server = { postgres: config.cartDatabase, applicationName: APPLICATION_NAME, logger };
  const carts = resources.adopt(openDatabase(server, { statementTimeoutMs: 30_000 }), (one) => one.close());
  const log = resources.adopt(
    await createKafkaLog({ kafka: config.kafka, clientId: APPLICATION_NAME, logger }),
    (one) => one.close(),
  );
  const facts = await inspectSink(config, carts, log);
  for (const line of formatSinkFacts(facts)) print(line);
  if (facts.moves.length === 0) {
    const halted = await findHaltedPartitions(carts, config.consumerGroup, [config.ordersTopic, config.replayTopic]);
    for (const row of halted) print(formatHaltedPartition(row));
    throw new ToolRefusal(
      'nothing wrong is found with the offsets of this CONSUMER_GROUP: ' +
        (halted.length === 0 ? 'restart the sinks' : 'a record is the cause, see above'),
    );
  }
  await requireYes('Move these offsets?', yes, conversation.streams);
  await moveOffsets(carts, config.consumerGroup, facts.moves);
  for (const line of formatSinkDone(facts.moves)) print(line);
}

async function moveOffsets({ pool }: Database, consumerGroup: string, moves: readonly SinkMove[]): Promise<void> {
  await pool.tx(async (tx) => {
    for (const { partition: place, nextOffset, forgetPosition } of moves) {
      const { topic, partition, storedOffset: expectedOffset, ownerEpoch: expectedEpoch } = place;
      const move = { consumerGroup, topic, partition, expectedOffset, expectedEpoch, nextOffset, forgetPosition };
      const [moved]: { owner_epoch: bigint }[] = await tx.query(moveOffset({ ...move, topicId: place.topicId }));
      if (moved === undefined) {
        throw new ToolRefusal(
          `a sink has taken or moved ${topic}[${partition}] meanwhile; nothing was changed, run this again`,
        );
      }
      if (nextOffset < expectedOffset) {
        await tx.query(setParkedAside({ consumerGroup, topic, partition }, moved.owner_epoch));
      }
    }
    await failpoint('adopt.before-move');
  });
}

/** One line for each partition: where the sinks stand, what Kafka has, what will be done. */
export function formatSinkFacts({ partitions, moves }: SinkFacts): string[] {
  const lines = partitions.map((one) => {
    const move = moves.find(({ partition }) => partition === one);
    const { position } = one.applied;
    const at = `${one.topic}[${one.partition}] next ${one.storedOffset}, Kafka has ${one.earliest} to ${one.highWatermark}`;
    const last = one.isLive ? `, last applied ${position === null ? 'none' : formatPosition(position)}` : '';
    return `  ${at}${last}${move === undefined ? '' : `: ${formatMove(move)}`}`;
  });
  return ['Offsets of the sinks:', ...lines];
}

function formatMove({ code, nextOffset, forgetPosition, partition }: SinkMove): string {
  const to = nextOffset === partition.storedOffset ? `stays at ${nextOffset}` : `moves to ${nextOffset}`;
  return `${code} -> ${to}${forgetPosition ? ', position cleared' : ''}`;
}

export function formatSinkDone(moves: readonly SinkMove[]): string[] {
  const [first, ...others] = formatSinkRepairs(moves);
  const steps = ['restart the sinks: npm run cart-sink'];
  if (first !== undefined) {
    const instead = others.length > 0 ? `   (or, if no source covers that: ${others.join(', ')})` : '';
    steps.push(`apply what was lost: ${first}${instead}`);
  }
  if (moves.some(({ partition }) => !partition.isLive)) {
    steps.push('if a replay was running, run it again');
  }
  steps.push('check: npm run audit');
  return [`Done: ${moves.length} partitions moved.`, 'Next:', ...steps.map((step, index) => `  ${index + 1}. ${step}`)];
}
