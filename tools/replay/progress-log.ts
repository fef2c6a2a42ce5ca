// Finds the newest committed progress record of a run in the replay topic: partition 0, backwards in growing windows,
// since every transaction of the tool writes one there. What it says is progress-record.ts's.

import type { KafkaLog } from '#service/kafka-log.ts';
import { parseReplayHeaders, REPLAY_PROGRESS_KEY } from '../../cart-sink/replay-records.ts';
import { READ_DEADLINE_MS } from './live-records.ts';
import { type Progress, parseProgress } from './progress-record.ts';

/** A transaction has at most a few thousand records in partition 0. */
const FIRST_WINDOW = 4_096n;
const WINDOW_GROWTH = 8n;

const key = Buffer.from(REPLAY_PROGRESS_KEY);

/**
 * The newest progress of `runId`, or of any run when it is undefined; null when there is none. `fenced`: the producer that
 * wrote them has been fenced, and what it had open is about to end, so all of the topic is read; `settled`: only up to
 * where nothing is open, since a killed tool's transaction may stay open until it times out.
 */
export async function readProgress(
  log: KafkaLog,
  replayTopic: string,
  runId: string | undefined,
  through: 'fenced' | 'settled',
): Promise<Progress | null> {
  const { earliest, lastStable, highWatermark } = (await log.readOffsets(replayTopic, READ_DEADLINE_MS)).get(0)!;
  let untilOffset = through === 'fenced' ? highWatermark : lastStable;
  for (let window = FIRST_WINDOW; untilOffset > earliest; window *= WINDOW_GROWTH) {
    const fromOffset = untilOffset - window > earliest ? untilOffset - window : earliest;
    const read = { topic: replayTopic, partition: 0, fromOffset, untilOffset, isolation: 'read_committed' } as const;
    let newest: Buffer | null = null;
    for await (const records of log.readRecords({ ...read, deadlineMs: READ_DEADLINE_MS })) {
      for (const record of records) {
        if (record.key === null || !record.key.equals(key) || record.value === null) continue;
        const found = parseReplayHeaders(record.headers);
        if (found?.kind !== 'progress' || (runId !== undefined && found.stamp.runId !== runId)) continue;
        newest = Buffer.from(record.value);
      }
    }
    if (newest !== null) return parseProgress(newest);
    untilOffset = fromOffset;
  }
  return null;
}
