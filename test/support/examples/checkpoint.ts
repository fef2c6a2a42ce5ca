// Checkpoints for tests that need some: one of a reader that has begun to stream, and one of a reader with a history.
// What a test is about it states as a change; everything else is the same in all of them.
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { toLsn } from '#schemas/lsn.ts';
import { exampleCapture } from './capture.ts';

/** A reader that streams and has published nothing, into three empty partitions. */
export function exampleCheckpoint(changes: Partial<Checkpoint> = {}): Checkpoint {
  return {
    state: 'streaming',
    systemIdentifier: '1',
    database: 'shop',
    slotName: 'tillstream',
    timeline: 1,
    history: [],
    generation: 1,
    partitions: 3,
    lastPublished: null,
    throughLsn: toLsn(10n),
    partial: null,
    nextOffsets: [0n, 0n, 0n],
    endOffsets: [],
    capture: exampleCapture(),
    gaps: [],
    windowMarks: [],
    liveTopicId: null,
    ...changes,
  };
}

/** A reader that has followed a failover and published the orders a and b of the transaction at 1000. */
export function advancedCheckpoint(changes: Partial<Checkpoint> = {}): Checkpoint {
  return exampleCheckpoint({
    systemIdentifier: '7123456789012345678',
    timeline: 2,
    history: [{ timeline: 1, endsAtLsn: toLsn(500n) }],
    partitions: 2,
    lastPublished: { commitLsn: toLsn(1_000n), ordinal: 1, orderId: 'b', ordersHash: 'a hash' },
    throughLsn: toLsn(1_200n),
    nextOffsets: [10n, 20n],
    ...changes,
  });
}
