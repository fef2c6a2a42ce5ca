// The data path, top to bottom: intake (messages → database transactions → events) → queue (groups) → publish (one Kafka
// transaction each, with the checkpoint that covers it) → acknowledge to Postgres. Guarantees: whole transactions in commit
// order (I4, I5), nothing acknowledged before Kafka has it (I7). Any failure ends it; a transaction that can't be
// published ends it once the whole transactions before it are. A stop takes in nothing more, and drains within a limit:
// the next start publishes the rest.
import type { Checkpoint } from '#schemas/checkpoint.ts';
import { LSN_ZERO, type Lsn } from '#schemas/lsn.ts';
import { resolvesWithin } from '#service/deadline.ts';
import { failpoint } from '#service/failpoint.ts';
import { HaltError } from '#service/halt.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import type { ReaderMetrics } from '../metrics.ts';
import type { ReaderSession } from '../startup/session.ts';
import type { Scope } from '../supervise/scope.ts';
import { createAcknowledger } from './acknowledge.ts';
import { createCaptureCheck } from './capture-check.ts';
import { startDrainLimit } from './drain-limit.ts';
import { Intake } from './intake.ts';
import { Publisher, runPublishLoop } from './publish.ts';
import { Queue } from './queue.ts';

/** For what is in flight when the reader halts: it ends by its own check. */
const HALT_DRAIN_MS = 2_000;

interface PipelineOptions {
  readonly config: CdcReaderConfig;
  readonly session: ReaderSession;
  readonly scope: Scope;
  readonly stop: AbortSignal;
  readonly metrics: ReaderMetrics;
  readonly logger: Logger;
  /** Called with each checkpoint once Kafka has committed it. */
  readonly onPublished?: (checkpoint: Checkpoint) => void;
  readonly drainLimitMs?: number;
  /** See Intake. */
  readonly isolateThroughLsn?: Lsn;
}

/**
 * Runs the data path of one start until `scope` fails (then it rejects with that failure) or `stop` is aborted
 * (then it resolves when what was in flight is published and acknowledged, or fails `scope` after `drainLimitMs`).
 */
export async function runPipeline(options: PipelineOptions): Promise<void> {
  const { config, session, scope, stop, metrics, logger, onPublished, isolateThroughLsn = LSN_ZERO } = options;
  const { stream, source } = session;

  const captureCheck = createCaptureCheck({ source, config, expected: session.checkpoint.capture, logger });
  const queue = new Queue({ maxOrders: config.groupMaxOrders, maxBytes: config.groupMaxBytes });
  const publisher = new Publisher({ config, session, metrics, logger, captureCheck, onPublished });
  const acknowledger = createAcknowledger({
    captureCheck,
    acknowledge: (throughLsn) => stream.acknowledge(throughLsn),
    onFailure: scope.fail,
  });
  const intake = new Intake({
    config,
    session,
    queue,
    metrics,
    checkpoint: () => publisher.checkpoint,
    isolateThroughLsn,
    onVerified: () => acknowledger.found(publisher.checkpoint.throughLsn),
    onFailure: scope.fail,
  });

  const drain = startDrainLimit(options, () => {
    stream.pause(); // under load there is always more to take in
    queue.wake();
  });
  scope.signal.addEventListener('abort', () => queue.wake());
  metrics.continued(publisher.checkpoint);
  let publishing: Promise<void> = Promise.resolve();
  try {
    session.inlet.receiver = intake;
    await failpoint('reader.before-streaming');
    if (!stop.aborted && !scope.signal.aborted) stream.resume();
    const { idleCheckpointMs } = config;
    const ends = { stop, ended: scope.signal };
    const stages = { queue, publisher, captureCheck, acknowledger, stream, metrics };
    publishing = runPublishLoop({ ...stages, ...ends, idleCheckpointMs });
    await scope.race(publishing);
    await scope.race(acknowledger.foundAcknowledged());
  } finally {
    drain.end();
    session.inlet.receiver = undefined;
    stream.pause();
    acknowledger.close();
    queue.discard();
    intake.close();
    // Left open, its Kafka transaction would keep `adopt` waiting for as long as Kafka's timeout.
    // What it fails with is of no interest beside the halt.
    if (scope.signal.reason instanceof HaltError) {
      await resolvesWithin(
        publishing.catch(() => undefined),
        HALT_DRAIN_MS,
      );
    }
    metrics.pendingDropped();
  }
}
