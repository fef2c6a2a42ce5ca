// What one start works with (StartContext), and what it leaves to the pipeline once it may publish (ReaderSession). The
// stream exists before the pipeline does: it is paused until then, and hands its messages to the receiver, if there is one.
import type { CheckpointTopic } from '#kafka/checkpoint-topic.ts';
import type { TransactionalProducer } from '#kafka/producer/transactional-producer.ts';
import type { KafkaLog } from '#kafka/reading/log.ts';
import type { Logger } from '#service/logger.ts';
import type { CdcReaderConfig } from '../config.ts';
import type { ReaderMetrics } from '../metrics.ts';
import type { ReplicationStream, StreamHandlers } from '../postgres/replication-stream.ts';
import type { SourceSession } from '../postgres/source-session.ts';
import type { Scope } from '../supervise/scope.ts';
import type { VerifiedCheckpoint } from './continuity.ts';
import type { FirstStartProgress } from './first-start/progress.ts';

export type MessageReceiver = Pick<StreamHandlers, 'onMessage' | 'onKeepalive'>;

export interface ReaderSession {
  readonly source: SourceSession;
  readonly stream: ReplicationStream;
  /** Where the stream's messages go; set by the pipeline while it runs. */
  readonly inlet: { receiver: MessageReceiver | undefined };
  readonly producer: TransactionalProducer;
  readonly checkpointTopic: CheckpointTopic;
  readonly log: KafkaLog;
  readonly checkpoint: VerifiedCheckpoint;
  /** By partition of the live topic, the least base offset of the next produce response. */
  readonly nextOffsets: readonly bigint[];
}

export interface StartContext {
  readonly config: CdcReaderConfig;
  readonly scope: Scope;
  readonly logger: Logger;
  readonly metrics: ReaderMetrics;
  /** Everything that is opened is closed with it, newest first. */
  readonly resources: AsyncDisposableStack;
  /** Called with why a start has to wait, for readiness. */
  readonly onWaiting: (why: Error) => void;
  /** Called when a part of the initial snapshot is published. */
  readonly onProgress: (progress?: FirstStartProgress) => void;
}
