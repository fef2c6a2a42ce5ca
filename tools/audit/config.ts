// What an audit is told by the environment: the variables of the reader and the sink, by the same names.
import { cartSinkVariables } from '../../cart-sink/config.ts';
import { cdcReaderVariables } from '../../cdc-reader/config.ts';
import { readEnvironment } from '../../service/environment.ts';

export const auditVariables = {
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
};

export type AuditConfig = ReturnType<typeof readAuditConfig>;

/** @throws ConfigurationError listing all problems */
export function readAuditConfig(env: Readonly<Record<string, string | undefined>>) {
  const values = readEnvironment(auditVariables, env);
  return Object.freeze({
    ...values,
    checkpointTopic: values.checkpointTopic ?? `cdc.checkpoints.${values.slotName}`,
  });
}
