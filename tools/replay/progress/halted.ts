import { findHaltedPartitions, formatHaltedPartition } from '../../halted-partitions.ts';
import type { Connections } from '../cli/connections.ts';

/** A line for each partition that the sinks have halted: a replay waits for them in vain. */
export async function describeHaltedPartitions({
  carts,
  config,
}: Pick<Connections, 'carts' | 'config'>): Promise<string[]> {
  const { consumerGroup, ordersTopic, replayTopic } = config;
  return (await findHaltedPartitions(carts, consumerGroup, [ordersTopic, replayTopic])).map(formatHaltedPartition);
}
