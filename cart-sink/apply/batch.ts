/**
 * What the Kafka half of the sink hands to the database half: the consumed records of one partition, in order.
 *
 * A batch is the unit of exactly-once (I3, I6): its effects, its ledger rows and `nextOffset` become visible in one
 * database transaction or not at all. Offsets may have gaps, because control and aborted records take offsets too.
 */
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { ReplayStamp, ReplayTally } from '../replay-records.ts';

export type SinkEntry =
  | { readonly kind: 'order'; readonly offset: bigint; readonly event: OrderPlaced }
  | {
      readonly kind: 'unreadable';
      readonly offset: bigint;
      readonly key: Buffer | null;
      readonly value: Buffer | null;
      readonly reason: string;
    }
  /** A run of the replay tool ends in this partition; `tally` is what it says to have published there. */
  | { readonly kind: 'replay-end'; readonly offset: bigint; readonly tally: ReplayTally };

export interface Batch {
  readonly consumerGroup: string;
  readonly topic: string;
  readonly partition: number;
  /** The epoch that taking the partition over gave; another one in the database means another owner. */
  readonly ownerEpoch: bigint;
  /** What the database must hold as next offset before this batch. */
  readonly expectedOffset: bigint;
  /** What it holds after it: past the last record consumed, control and aborted ones included. */
  readonly nextOffset: bigint;
  /** Empty when only control, aborted or progress records were passed. */
  readonly entries: readonly SinkEntry[];
  /** The run that every entry is of; null for the live topic, and where the replay topic holds nothing of a run. */
  readonly replay: ReplayStamp | null;
  /** Of the run's orders among the consumed records, those that could not be read included. */
  readonly tally: ReplayTally;
}
