// What adopting at the sinks is told by the environment: the sink's variables, by the same names.
import { cartSinkVariables } from '../../cart-sink/config.ts';
import { readEnvironment } from '../../service/environment.ts';

export const adoptSinkVariables = {
  cartDatabaseUrl: cartSinkVariables.cartDatabaseUrl,
  kafkaBrokers: cartSinkVariables.kafkaBrokers,
  ordersTopic: cartSinkVariables.ordersTopic,
  replayTopic: cartSinkVariables.replayTopic,
  maxExpandedBatchBytes: cartSinkVariables.maxExpandedBatchBytes,
  consumerGroup: cartSinkVariables.consumerGroup,
};

export type AdoptSinkConfig = ReturnType<typeof readAdoptSinkConfig>;

/** @throws ConfigurationError listing all problems */
export function readAdoptSinkConfig(env: Readonly<Record<string, string | undefined>>) {
  return readEnvironment(adoptSinkVariables, env);
}
