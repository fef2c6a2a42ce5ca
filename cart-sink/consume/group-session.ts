/**
 * One consumer-group session, from joining the group to leaving it: takes over what the group assigns, and passes each
 * fetch to the pipeline of its partition.
 *
 * Guarantees: nothing is fetched before the carts database has named this sink the owner and Kafka was found to
 * continue what the database holds (I6, I11); the session ends once, with a reason, and applies nothing from then on.
 * Leaves to sink.ts: what follows an end. An assignment replaces the one before as a whole, as in kafkajs.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { FetchedBatch } from '#kafka/reading/fetched-batch.ts';
import type { GroupConsumer, GroupHandlers } from '#kafka/reading/group-consumer.ts';
import { resolvesWithin } from '#service/deadline.ts';
import type { HaltError } from '#service/halt.ts';
import type { Ownership, TopicPartition } from '../sql/consumer-offsets.ts';
import { formatError, type OwnedPartition, type PartitionEnd, type PartitionOptions } from './owned-partition.ts';
import { consumeFetch } from './pipeline.ts';
import type { HeldRun } from './replay-admission.ts';
import { type TakeoverIo, takeOver } from './takeover.ts';

export type SessionEnd =
  | PartitionEnd
  | { readonly kind: 'closed' }
  /** Kafka or the carts database seems to lack what was applied; the checks of the next session decide. */
  | { readonly kind: 'out-of-step'; readonly topic: string; readonly partition: number }
  | { readonly kind: 'topics-changed' };

/** As a part of a sentence. */
export function explainEnd(end: SessionEnd): string {
  switch (end.kind) {
    case 'closed':
      return 'the sink is stopping';
    case 'halted':
      return 'the sink has halted';
    case 'stale-owner':
      return `another sink owns ${end.topic}[${end.partition}]`;
    case 'out-of-step':
      return `${end.topic}[${end.partition}] does not stand where it was applied to: an operator has moved it, or Kafka or the database lost records`;
    case 'topics-changed':
      return 'the replay topic was created';
    case 'failed':
      return 'Kafka, its client or the carts database failed';
  }
}

export interface SessionOptions extends TakeoverIo {
  readonly createConsumer: (handlers: GroupHandlers) => GroupConsumer;
  readonly createPartition: (
    ownership: Ownership,
    handlers: Pick<PartitionOptions, 'onEnd' | 'onPaused' | 'onHalted'>,
  ) => OwnedPartition;
  /** Called each time that a partition is paused at this run. */
  readonly onPaused: (partition: TopicPartition, held: HeldRun) => void;
  /** Only this partition has halted. */
  readonly onHalted: (ownership: Ownership, error: HaltError) => void;
  readonly onAssigned: (owned: readonly Ownership[], lost: readonly TopicPartition[]) => void;
}

/** How long a partition is paused at a replay run before the sink decides again. */
export const PAUSE_MS = 2_000;

/** A transaction takes milliseconds; one that takes longer is fenced by the next owner of its partitions. */
const APPLYING_LIMIT_MS = 2_000;

const keyOf = ({ topic, partition }: TopicPartition): string => `${topic}[${partition}]`;

export class GroupSession {
  readonly ended: Promise<SessionEnd>;
  readonly #options: SessionOptions;
  readonly #consumer: GroupConsumer;
  readonly #resolve: (end: SessionEnd) => void;
  #owned: ReadonlyMap<string, OwnedPartition> = new Map();
  #lastOwned: readonly Ownership[] = [];
  /** Aborted when the assignment it belongs to is replaced, or the session ends. */
  #assignment = new AbortController();
  #isOver = false;

  constructor(options: SessionOptions) {
    const { promise, resolve } = Promise.withResolvers<SessionEnd>();
    this.#options = options;
    this.ended = promise;
    this.#resolve = resolve;
    this.#consumer = options.createConsumer({
      onAssigned: (partitions) => this.#replaceAssignment(partitions),
      onRebalancing: () => this.#assignment.abort(),
      onBatch: (batch) => this.#consume(batch),
      // Whether records were lost, or the log has lost its end, is for the next takeover to decide.
      onOutOfRange: ({ topic, partition }) => this.end({ kind: 'out-of-step', topic, partition }),
      onFailed: (error) => this.end({ kind: 'failed', error }),
    });
  }

  /** The partitions that are owned now. */
  partitions = (): readonly OwnedPartition[] => (this.#isOver ? [] : [...this.#owned.values()]);

  end(reason: SessionEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#assignment.abort();
    this.#resolve(reason);
  }

  /** Commits the offsets to the group, for lag tools only. */
  async report(): Promise<void> {
    await this.#consumer.report(
      [...this.#owned.values()].map(({ ownership, position }) => ({ ...ownership, offset: position() })),
    );
  }

  /** Ends the session if it has not ended, and leaves the group after the transactions in progress. */
  async close(): Promise<void> {
    this.end({ kind: 'closed' });
    await resolvesWithin(
      Promise.all([...this.#owned.values()].map((partition) => partition.idle())),
      APPLYING_LIMIT_MS,
    );
    await this.#consumer.close();
  }

  #replaceAssignment(partitions: readonly TopicPartition[]): void {
    if (this.#isOver) return;
    this.#assignment.abort();
    this.#assignment = new AbortController();
    this.#owned = new Map();
    const { signal } = this.#assignment;
    this.#start(partitions, signal).catch((error) => {
      if (!signal.aborted) this.end(formatError(error));
    });
  }

  async #start(partitions: readonly TopicPartition[], signal: AbortSignal): Promise<void> {
    const { owned: taken, halted } = await takeOver(partitions, this.#options, signal);
    if (signal.aborted) return;
    this.#owned = new Map(taken.map((ownership) => [keyOf(ownership), this.#createPartition(ownership, signal)]));
    const lost = this.#lastOwned.filter((ownership) => !this.#owned.has(keyOf(ownership)));
    this.#lastOwned = taken;
    this.#options.onAssigned(taken, lost);
    for (const [ownership, error] of halted) this.#owned.get(keyOf(ownership))!.halt(error);
    const open = taken.filter((ownership) => !halted.has(ownership));
    this.#consumer.start(open.map(({ topic, partition, nextOffset }) => ({ topic, partition, offset: nextOffset })));
  }

  #createPartition(ownership: Ownership, signal: AbortSignal): OwnedPartition {
    const { topic, partition: number } = ownership;
    const partition = this.#options.createPartition(ownership, {
      onEnd: (reason) => {
        if (!signal.aborted) this.end(reason);
      },
      onHalted: (error) => {
        if (signal.aborted) return;
        this.#consumer.pause({ topic, partition: number });
        this.#options.onHalted(ownership, error);
      },
      onPaused: (held) => {
        if (signal.aborted) return;
        this.#consumer.pause({ topic, partition: number });
        this.#options.onPaused({ topic, partition: number }, held);
        delay(PAUSE_MS, undefined, { signal }).then(
          () => {
            partition.resume();
            this.#consumer.start([{ topic, partition: number, offset: partition.position() }]);
          },
          () => undefined,
        );
      },
    });
    return partition;
  }

  /** Resolves when the fetch has begun to be applied: the next one may be on its way meanwhile, and no more. */
  #consume(batch: FetchedBatch): Promise<void> {
    const partition = this.#owned.get(keyOf(batch));
    const { signal } = this.#assignment;
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#isOver || partition === undefined) resolve();
    else {
      const work = (): Promise<void> => {
        resolve();
        return consumeFetch(partition, batch, signal);
      };
      void partition.inSequence(work, signal).finally(resolve);
    }
    return promise;
  }
}
