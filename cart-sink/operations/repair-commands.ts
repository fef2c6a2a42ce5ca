/**
 * The command that repairs a halted partition, a parked event or an unfinished run: the same from the sink's operations port
 * and from the tools. Pure. What to do before it (deploy a sink that has the schema) is left to docs/operations.md.
 */
import type { TopicPartition } from '../sql/consumer-offsets.ts';

/** As --park takes it. Quoted, since brackets are a pattern to shells. */
export function formatParkCommand({ topic, partition }: TopicPartition, offset: bigint): string {
  return `npm run adopt -- sink --park '${topic}[${partition}]@${offset}'`;
}

/** A record or a batch can be parked; records that Kafka no longer has can't. */
export function formatHaltCommand(code: string, place: TopicPartition, offset: bigint): string {
  return code === 'RECORDS_LOST' ? 'npm run adopt -- sink' : formatParkCommand(place, offset);
}

export function formatParkedCommand(parkedId: bigint): string {
  return `npm run parked -- show ${parkedId}`;
}

/** Null for a run that is over. */
export function formatRunCommand(run: string, state: string): string | null {
  return state === 'publishing' || state === 'published' ? `npm run replay -- resume ${run}` : null;
}
