// A record batch that can't be read: damaged, written by something else, or too large once expanded. Each is a halt, since
// going past it would lose its records and a retry meets the same bytes. Guarantees: the message names the place, what is
// wrong, and the ways on. That a sink first applies what precedes the batch is left to its pipeline.
import { HaltError } from '#service/halt.ts';

/** Where a batch lies; the offsets are its own words, so of a damaged batch they may be wrong. */
export interface BatchPlace {
  readonly topic: string;
  readonly partition: number;
  readonly baseOffset: bigint;
}

const details = ({ topic, partition, baseOffset }: BatchPlace) => ({
  topic,
  partition: String(partition),
  offset: String(baseOffset),
});
const at = ({ topic, partition, baseOffset }: BatchPlace): string =>
  `The record batch at ${topic}[${partition}] offset ${baseOffset}`;

/** The way on past records that nothing can read: their orders are still in the orders database. */
const giveUp = ({ topic, partition, baseOffset }: BatchPlace): string =>
  `If nothing helps, park the whole batch by \`npm run adopt -- sink --park '${topic}[${partition}]@${baseOffset}'\`: the sinks go ` +
  'on behind it, and the replay command that it prints applies the orders that were in it';

/** A batch whose bytes contradict themselves, or whose checksum does not fit them. */
export class BatchUnreadableError extends HaltError {
  readonly code = 'BATCH_UNREADABLE';
  override readonly scope = 'partition';

  constructor(place: BatchPlace, why: string, options?: ErrorOptions) {
    super(
      `${at(place)} can't be read: ${why}. Its bytes are damaged, or another program wrote them. Check them with ` +
        `kafka-dump-log.sh on each replica: if one is whole, make its broker the leader, then restart. ${giveUp(place)}`,
      details(place),
      options,
    );
  }
}

/** A batch that takes more memory than `MAX_EXPANDED_BATCH_BYTES`, which bounds what one batch can do to the process. */
export class BatchTooLargeError extends HaltError {
  readonly code = 'BATCH_TOO_LARGE';
  override readonly scope = 'partition';

  constructor(place: BatchPlace, limitBytes: number, options?: ErrorOptions) {
    super(
      `${at(place)} takes more than MAX_EXPANDED_BATCH_BYTES (${limitBytes}) in memory once it is expanded. If it is ` +
        `Tillstream's, raise that variable and the memory of the process, then restart. If not, find the other writer. ${giveUp(place)}`,
      { ...details(place), limitBytes: String(limitBytes) },
      options,
    );
  }
}

export function isBatchError(error: unknown): error is BatchUnreadableError | BatchTooLargeError {
  return error instanceof BatchUnreadableError || error instanceof BatchTooLargeError;
}
