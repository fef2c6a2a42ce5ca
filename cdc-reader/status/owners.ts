// Which partitions a sink owns, and by which owner epochs, short enough for one line of a table. Pure. Which sink has a partition is
// told by the sink's metrics; its epoch is in the carts database, whichever sink was asked for it.
import type { CartsStatus } from '#schemas/carts-status.ts';
import { findValue, type Samples } from './prometheus-text.ts';

export interface OwnedPartitions {
  readonly topic: string;
  /** Like `0-5, 7`. */
  readonly partitions: string;
  /** Like `3` or `3-5`; null: the carts side was not read. */
  readonly ownerEpochs: string | null;
}

export function describeOwned(sink: Samples, carts: CartsStatus | undefined): OwnedPartitions[] {
  // A sink that has halted goes on reporting what it had.
  if (!findValue(sink, 'tillstream_sink_assigned_partitions')) return [];
  const owned = sink.get('tillstream_sink_next_offset') ?? [];
  const byTopic = Map.groupBy(owned, ({ labels }) => labels.topic ?? '');
  return [...byTopic].map(([topic, samples]) => {
    const partitions = samples.map(({ labels }) => Number(labels.partition)).toSorted((a, b) => a - b);
    const epochs = (carts?.partitions ?? [])
      .filter((one) => one.topic === topic && partitions.includes(one.partition))
      .map(({ ownerEpoch }) => BigInt(ownerEpoch))
      .toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    const [first, last] = [epochs[0], epochs.at(-1)];
    const ownerEpochs = first === undefined ? null : first === last ? `${first}` : `${first}-${last}`;
    return { topic, partitions: formatRanges(partitions), ownerEpochs };
  });
}

/** @param sorted ascending, each once */
function formatRanges(sorted: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const number of sorted) {
    const range = ranges.at(-1);
    if (range !== undefined && range[1] === number - 1) range[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
}
