// Finds the newest committed progress record of a run in partition 0 of the replay topic, where every transaction of the tool
// writes one. Its contents are defined in schemas/replay/progress.ts.

import type { KafkaLog, LogRecord } from '#kafka/reading/log.ts';
import { findNewestRecord } from '#kafka/reading/newest-record.ts';
import { type Progress, parseProgress } from '#schemas/replay/progress.ts';
import { parseReplayHeaders, REPLAY_PROGRESS_KEY } from '#schemas/replay/records.ts';
import { READ_DEADLINE_MS } from '../../read-checkpoint.ts';

/** A transaction has at most a few thousand records in partition 0. */
const FIRST_WINDOW = 4_096n;

const key = Buffer.from(REPLAY_PROGRESS_KEY);

/**
 * The newest progress of `runId`, or of any run if it is undefined; null if there is none. `fenced`: the producer that wrote
 * them is fenced and its open transaction about to end, so the whole topic is read; `stable`: only up to the last stable
 * offset, since a killed tool's transaction may stay open until it times out.
 */
export async function readProgress(
  log: KafkaLog,
  replayTopic: string,
  runId: string | undefined,
  through: 'fenced' | 'stable',
): Promise<Progress | null> {
  const { earliest, lastStable, highWatermark } = (await log.readOffsets(replayTopic, READ_DEADLINE_MS)).get(0)!;
  const isWanted = (record: LogRecord): boolean => {
    if (record.key?.equals(key) !== true || record.value === null) return false;
    const found = parseReplayHeaders(record.headers);
    return found?.kind === 'progress' && (runId === undefined || found.stamp.runId === runId);
  };
  const newest = await findNewestRecord(log, {
    topic: replayTopic,
    partition: 0,
    earliest,
    untilOffset: through === 'fenced' ? highWatermark : lastStable,
    deadlineMs: READ_DEADLINE_MS,
    isWanted,
    firstWindow: FIRST_WINDOW,
  });
  return newest && parseProgress(newest.value!);
}
