// Why the sinks may not be getting on with a run. Decides from what the databases and Kafka tell: whether any sink of the
// group takes the replay topic, where each partition stands, and which version of the rule the run asks for. The sinks
// themselves know best: their logs and metrics are named.

import type { ReplayPlan } from '#schemas/replay/plan.ts';
import type { Connections } from '../cli/connections.ts';
import type { RunResult } from '../run/run-records.ts';
import { READ_DEADLINE_MS } from '../sources/live-records.ts';
import { readSinkActivity } from '../sql/read-sink-activity.ts';

export interface PartitionStand {
  readonly partition: number;
  /** What a sink has stored; null: none has ever taken this partition. */
  readonly nextOffset: bigint | null;
  /** Of the replay topic's partition. */
  readonly end: bigint;
  readonly hasEnded: boolean;
}

export async function explainStall(
  { config, carts, log }: Connections,
  plan: ReplayPlan,
  results: ReadonlyMap<number, RunResult>,
): Promise<string[]> {
  const { consumerGroup, replayTopic } = config;
  const rows: { partition: number; next_offset: bigint }[] = await carts.pool.query(
    readSinkActivity(consumerGroup, replayTopic),
  );
  const stored = new Map(rows.map((row) => [row.partition, row.next_offset]));
  const ends = await log.readOffsets(replayTopic, READ_DEADLINE_MS);
  const stands = Array.from({ length: plan.partitions }, (_, partition) => ({
    partition,
    nextOffset: stored.get(partition) ?? null,
    end: ends.get(partition)!.highWatermark,
    hasEnded: (results.get(partition)?.end ?? null) !== null,
  }));
  return formatStall(stands, { consumerGroup, replayTopic, ruleVersion: plan.ruleVersion, runId: plan.runId });
}

/** Pure. */
export function formatStall(
  stands: readonly PartitionStand[],
  names: { consumerGroup: string; replayTopic: string; ruleVersion: number; runId: string },
): string[] {
  const { consumerGroup, replayTopic, ruleVersion, runId } = names;
  const waiting = stands.filter(({ hasEnded }) => !hasEnded);
  const untaken = waiting.filter(({ nextOffset }) => nextOffset === null);
  const where = waiting
    .map(({ partition, nextOffset, end }) => `${partition} (at ${nextOffset ?? 'none'} of ${end})`)
    .join(', ');
  const reasons =
    untaken.length === waiting.length
      ? [`no sink of CONSUMER_GROUP ${consumerGroup} has ever taken these partitions: is a cart-sink running?`]
      : [
          'no cart-sink is running, or it has halted (see its /health/ready);',
          `the sinks have another version of the rule than this run, which is of version ${ruleVersion}: they hold it`,
          `(log event sink.replay-held, metric tillstream_sink_replay_held); deploy that version, or cancel the run:`,
          `npm run replay -- cancel ${runId}`,
        ];
  return [
    `Nothing has moved for a while. Partitions of ${replayTopic} to go: ${where}. It may be that`,
    ...reasons.map((line) => `  ${line}`),
  ];
}
