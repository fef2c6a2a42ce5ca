// Open Kafka transactions that hold the last stable offset of the live topic: consumers wait behind it. Guarantees: the age is
// computed at the scrape, from when the transaction was first seen or its last record, whichever is earlier; what is too old to be
// true has no series. What is sampled, and how often, is transaction-sampler.ts's.
import type { OpenTransaction } from '#kafka/reading/open-transactions.ts';
import type { Metrics, StateSample } from '#service/metrics.ts';

/** Three samples. */
const STALE_MS = 15_000;

type Held = OpenTransaction & { readonly sinceMs: number };
type Label = 'partition' | 'producer' | 'epoch' | 'owner';

export function createTransactionMetrics(metrics: Metrics, nowMs: () => number) {
  let last: { readonly held: readonly Held[]; readonly atMs: number } | undefined;
  let ownId: bigint | undefined;
  const fresh = () => (last !== undefined && nowMs() - last.atMs <= STALE_MS ? last.held : undefined);
  const labelsOf = ({ partition, producerId, producerEpoch }: Held): Record<Label, string | number> => ({
    partition,
    producer: String(producerId),
    epoch: producerEpoch,
    owner: producerId === ownId ? 'this-reader' : 'other',
  });
  const register = (name: string, help: string, read: (held: Held) => number): void =>
    metrics.state(
      `tillstream_reader_${name}`,
      help,
      ['partition', 'producer', 'epoch', 'owner'],
      (): StateSample<Label>[] => (fresh() ?? []).map((held) => [labelsOf(held), read(held)]),
    );

  metrics.state(
    'tillstream_reader_open_transactions',
    'Partitions of the live topic whose last stable offset an open Kafka transaction holds',
    [],
    () => {
      const held = fresh();
      return held === undefined ? [] : [[{}, held.length]];
    },
  );
  register(
    'open_transaction_seconds',
    'How long, at least; owner: this-reader, other',
    ({ sinceMs }) => Math.max(0, nowMs() - sinceMs) / 1_000,
  );
  register('open_transaction_start_offset', 'Where it begins: read_committed ends there', (held) =>
    Number(held.transactionStartOffset),
  );
  return {
    /** The producer of this reader, which is also that of the reader before it. */
    fenced({ producerId }: { readonly producerId: bigint }): void {
      ownId = producerId;
    },
    transactionsSampled(sampled: readonly OpenTransaction[]): void {
      const atMs = nowMs();
      last = { held: sampled.map((one) => ({ ...one, sinceMs: sinceOf(one, last?.held ?? [], atMs) })), atMs };
    },
  };
}

function sinceOf(one: OpenTransaction, before: readonly Held[], nowMs: number): number {
  const known = before.find(
    ({ partition, producerId, transactionStartOffset }) =>
      partition === one.partition &&
      producerId === one.producerId &&
      transactionStartOffset === one.transactionStartOffset,
  );
  if (known !== undefined) return known.sinceMs;
  return one.lastTimestampMs < 0 ? nowMs : Math.min(nowMs, one.lastTimestampMs);
}
