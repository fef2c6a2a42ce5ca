// `npm run adopt -- sink`: shows where sinks and Kafka stand, asks, and moves the offsets of partitions that can't go on.
// Guarantees: nothing changes before the yes; all partitions move in one transaction or none; a sink that still holds one
// is fenced; the ledger and what was parked are kept, so that nothing takes effect twice.

import { createKafkaLog } from '#kafka/reading/log.ts';
import { formatPosition } from '#schemas/position.ts';
import { createDatabase } from '#service/database.ts';
import { failpoint } from '#service/failpoint.ts';
import type { Logger } from '#service/logger.ts';
import { type Conversation, requireYes } from '../../confirm.ts';
import { ToolRefusal } from '../../run-tool.ts';
import type { AdoptSinkConfig } from '../config.ts';
import { moveOffset } from '../sql/move-offset.ts';
import { setParkedAside } from '../sql/set-parked-aside.ts';
import { inspectSink, type SinkLook } from './inspect-sink.ts';
import { formatSinkRepairs, type SinkMove } from './plan-sink.ts';

const CLIENT = 'tillstream-adopt';

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
  const carts = resources.adopt(
    createDatabase({
      url: config.cartDatabaseUrl,
      applicationName: CLIENT,
      poolSize: 1,
      statementTimeoutMs: 30_000,
      lockTimeoutMs: 15_000, // longer than a sink's batch may hold its offset
      idleInTransactionTimeoutMs: 30_000,
      connectTimeoutMs: 5_000,
      acquireTimeoutMs: 10_000,
      logger,
    }),
    (one) => one.close(),
  );
  const log = resources.adopt(await createKafkaLog({ brokers: config.kafkaBrokers, clientId: CLIENT, logger }), (one) =>
    one.close(),
  );
  const look = await inspectSink(config, carts, log);
  for (const line of formatLook(look)) print(line);
  if (look.moves.length === 0) {
    throw new ToolRefusal('nothing wrong is found with the offsets of this CONSUMER_GROUP: restart the sinks');
  }
  await requireYes('Move these offsets?', yes, conversation);

  const { consumerGroup } = config;
  await carts.pool.tx(async (tx) => {
    for (const { partition: place, nextOffset, forgetPosition } of look.moves) {
      const { topic, partition, storedOffset, ownerEpoch } = place;
      const [moved]: { owner_epoch: bigint }[] = await tx.query(
        moveOffset({
          consumerGroup,
          topic,
          partition,
          expectedOffset: storedOffset,
          expectedEpoch: ownerEpoch,
          nextOffset,
          forgetPosition,
        }),
      );
      if (moved === undefined) {
        throw new ToolRefusal(
          `a sink has taken or moved ${topic}[${partition}] meanwhile; nothing was changed, run this again`,
        );
      }
      if (nextOffset < storedOffset)
        await tx.query(setParkedAside({ consumerGroup, topic, partition }, moved.owner_epoch));
    }
    await failpoint('adopt.before-move');
  });
  for (const line of formatSinkDone(look.moves)) print(line);
}

/** One line a partition: where the sinks stand, what Kafka has, what happens. */
export function formatLook({ partitions, moves }: SinkLook): string[] {
  const lines = partitions.map((one) => {
    const move = moves.find(({ partition }) => partition === one);
    const { position } = one.applied;
    const at = `${one.topic}[${one.partition}] next ${one.storedOffset}, Kafka has ${one.earliest} to ${one.highWatermark}`;
    const last = one.isLive ? `, last applied ${position === null ? 'none' : formatPosition(position)}` : '';
    return `  ${at}${last}${move === undefined ? '' : `: ${formatMove(move)}`}`;
  });
  return ['Where the sinks stand:', ...lines];
}

function formatMove({ code, nextOffset, forgetPosition, partition }: SinkMove): string {
  const to = nextOffset === partition.storedOffset ? `stays at ${nextOffset}` : `moves to ${nextOffset}`;
  return `${code} -> ${to}${forgetPosition ? ', position forgotten' : ''}`;
}

export function formatSinkDone(moves: readonly SinkMove[]): string[] {
  const [first, ...others] = formatSinkRepairs(moves);
  const steps = ['restart the sinks: npm run cart-sink'];
  if (first !== undefined) {
    const instead = others.length > 0 ? `   (or, where no source covers that: ${others.join(', ')})` : '';
    steps.push(`apply what was lost: ${first}${instead}`);
  }
  if (moves.some(({ partition }) => !partition.isLive)) {
    steps.push('run the replay again that was under way, if any');
  }
  steps.push('check: npm run audit');
  return [`Done: ${moves.length} partitions moved.`, 'Next:', ...steps.map((step, index) => `  ${index + 1}. ${step}`)];
}
