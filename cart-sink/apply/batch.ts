/** What a transaction of the sink applies of one partition: the form between parsing and applying. */
import type { OrderPlaced } from '#schemas/order-placed.ts';
import type { ReplayStamp, ReplayTally } from '#schemas/replay/records.ts';

/** A consumed record that has an effect. */
export type BatchEntry = {
  readonly offset: bigint;
  /** W3C trace context of the request that placed the order, as the record's header has it; undefined: none. */
  readonly traceparent?: string | undefined;
} & (
  | { readonly kind: 'order'; readonly event: OrderPlaced }
  | {
      readonly kind: 'unreadable';
      readonly key: Buffer | null;
      readonly value: Buffer | null;
      readonly reason: string;
    }
  /** A replay run ends in this partition; `tally` is what it says was published there. */
  | { readonly kind: 'replay-end'; readonly tally: ReplayTally }
);

/** Consecutive records of one partition. Offsets may have gaps: control and aborted records take offsets too. */
export interface Batch {
  readonly consumerGroup: string;
  readonly topic: string;
  readonly partition: number;
  /** The fencing token from taking the partition over; another one in the database means another owner. */
  readonly ownerEpoch: bigint;
  /** The next offset that the database must hold before this batch. */
  readonly expectedOffset: bigint;
  /** The next offset after it: past the last record consumed, control and aborted records included. */
  readonly nextOffset: bigint;
  /** Empty if only control, aborted or progress records were consumed. */
  readonly entries: readonly BatchEntry[];
  /** The run of all entries; null in the live topic, and for records of the replay topic that belong to no run. */
  readonly replay: ReplayStamp | null;
  /** Of the run's orders among the consumed records, unreadable ones included. */
  readonly tally: ReplayTally;
  /** Of the consumed records' values. */
  readonly bytes: number;
}
