// The replay tool's configuration: the variables of the services that it works between, under the same names and with
// the same defaults, so that the environment of the pipeline is the environment of its tools.

import { checkpointTopicName } from '#schemas/resource-names.ts';
import { cartSinkVariables } from '../../cart-sink/config.ts';
import { cdcReaderVariables } from '../../cdc-reader/config.ts';
import { ConfigurationError, logLevel, readEnvironment } from '../../service/environment.ts';

export const replayVariables = {
  orderDatabaseUrl: cdcReaderVariables.orderDatabaseUrl,
  cartDatabaseUrl: cartSinkVariables.cartDatabaseUrl,
  kafkaBrokers: cdcReaderVariables.kafkaBrokers,
  ordersTopic: cdcReaderVariables.ordersTopic,
  replayTopic: cdcReaderVariables.replayTopic,
  maxExpandedBatchBytes: cdcReaderVariables.maxExpandedBatchBytes,
  checkpointTopic: cdcReaderVariables.checkpointTopic,
  slotName: cdcReaderVariables.slotName,
  publicationName: cdcReaderVariables.publicationName,
  consumerGroup: cartSinkVariables.consumerGroup,
  transactionTimeoutMs: cdcReaderVariables.transactionTimeoutMs,
  walSenderTimeoutMs: cdcReaderVariables.walSenderTimeoutMs,
  spillBytes: cdcReaderVariables.spillBytes,
  spillDirectory: cdcReaderVariables.spillDirectory,
  // Its words for people go to standard output; what its clients log is for finding faults.
  logLevel: logLevel('TOOLS_LOG_LEVEL', 'Least severe level that the tools log, on standard output', 'fatal'),
};

export type ReplayConfig = ReturnType<typeof readReplayConfig>;

/** @throws ConfigurationError listing all problems */
export function readReplayConfig(env: Readonly<Record<string, string | undefined>>) {
  const values = readEnvironment(replayVariables, env);
  if (values.ordersTopic === values.replayTopic) {
    throw new ConfigurationError([`REPLAY_TOPIC must not be the live topic, ${values.ordersTopic}`]);
  }
  return Object.freeze({
    ...values,
    checkpointTopic: values.checkpointTopic ?? checkpointTopicName(values.slotName),
    /** Fences whichever tool published to this topic before: one run at a time. */
    transactionalId: `tillstream.replay.${values.replayTopic}`,
    applicationName: `tillstream-replay-${values.slotName}`,
  });
}
