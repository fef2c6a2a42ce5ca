// Explains why the sinks may be making no progress with a run, by the stored offsets and the ends of the replay topic. The sinks
// themselves know the cause, so the message names their logs and metrics.

import type { ReplayPlan } from '#schemas/replay/plan.ts';
import { type NextOffsetRow, readNextOffsets } from '../../../cart-sink/sql/consumer-offsets.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';
import type { Connections } from '../cli/connections.ts';
import type { RunResult } from '../run/run-records.ts';

export interface PartitionState {
  readonly partition: number;
  /** The stored offset; null if no sink was ever assigned the partition. */
  readonly nextOffset: bigint | null;
  /** The high watermark of the replay topic's partition. */
  readonly end: bigint;
  readonly hasEnded: boolean;
}

export async function explainStall(
  { config, carts, log }: Connections,
  plan: ReplayPlan,
  results: ReadonlyMap<number, RunResult>,
): Promise<string[]> {
  const { consumerGroup, replayTopic } = config;
  const rows: NextOffsetRow[] = await carts.pool.query(readNextOffsets(consumerGroup, [replayTopic]));
  const stored = new Map(rows.map((row) => [row.partition, row.next_offset]));
  const ends = await log.readOffsets(replayTopic, READ_DEADLINE_MS);
  const states = Array.from({ length: plan.partitions }, (_, partition) => ({
    partition,
    nextOffset: stored.get(partition) ?? null,
    end: ends.get(partition)!.highWatermark,
    hasEnded: (results.get(partition)?.end ?? null) !== null,
  }));
  return formatStall(states, { consumerGroup, replayTopic, ruleVersion: plan.ruleVersion, runId: plan.runId });
}

/** Pure. */
export function formatStall(
  states: readonly PartitionState[],
  names: { consumerGroup: string; replayTopic: string; ruleVersion: number; runId: string },
): string[] {
  const { consumerGroup, replayTopic, ruleVersion, runId } = names;
  const behind = states.filter(({ hasEnded }) => !hasEnded);
  const unassigned = behind.filter(({ nextOffset }) => nextOffset === null);
  const where = behind
    .map(({ partition, nextOffset, end }) => `${partition} (at ${nextOffset ?? 'none'} of ${end})`)
    .join(', ');
  const reasons =
    unassigned.length === behind.length
      ? [`no sink of CONSUMER_GROUP ${consumerGroup} was ever assigned these partitions: is a cart-sink running?`]
      : [
          'no cart-sink is running, or it has halted (see its /health/ready);',
          `the sinks have another version of the rule than this run (version ${ruleVersion}), so they pause it`,
          `(log event sink.replay-held, metric tillstream_sink_replay_held): deploy that version, or cancel the run:`,
          `npm run replay -- cancel ${runId}`,
          'a run that this carts database does not know lies before it (log event sink.replay-held, with the command);',
        ];
  return [
    `No progress for a while. Partitions of ${replayTopic} not finished: ${where}. Possible reasons:`,
    ...reasons.map((line) => `  ${line}`),
  ];
}
