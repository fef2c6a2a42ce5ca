// The whole pipeline on one page, from readings of its services: verdict, positions from the end of the WAL to the carts, latency,
// rates, what would be lost, who runs, and what the carts side keeps (proof, parked, halted, replays). Guarantees: a figure that no
// service gave is null and never 0; readings that did not come keep nothing else from being shown. What is read, and how often, is
// the caller's; it keeps the readings of before for rates.

import type { CartsStatus } from '#schemas/carts-status.ts';
import type { PipelineEvent } from './events.ts';
import { buildLadder, type Rung } from './ladder.ts';
import { findQuantiles, type Quantiles, readBuckets } from './latency.ts';
import { describeOwned, type OwnedPartitions } from './owners.ts';
import { findValue, sumValues } from './prometheus-text.ts';
import type { ServiceKind, ServiceReading } from './read-service.ts';
import { atOf, metricsOf, type Round, rateOf, streamingReaderOf, sumOf } from './rounds.ts';
import { describeSafety, type Safety } from './safety.ts';
import { findVerdict, type Progress, type Verdict } from './verdict.ts';

interface ServiceLine {
  readonly kind: ServiceKind;
  readonly url: string;
  /** What /health/pipeline calls it; null: it does not answer. */
  readonly state: string | null;
  readonly isWell: boolean;
  readonly version: string | null;
  readonly partitions: number | null;
  readonly owned: readonly OwnedPartitions[];
  /** ISO 8601: when the process began. */
  readonly startedAt: string | null;
  /** Of its consumer group session, or of the reader, since then. */
  readonly restarts: number | null;
  readonly problem: string | null;
}

export interface Overview {
  /** ISO 8601. */
  readonly at: string;
  readonly verdict: Verdict;
  readonly ladder: readonly Rung[];
  readonly latency: { readonly ofLastMinute: Quantiles | null };
  /** Orders a second. */
  readonly rates: Readonly<Record<'read' | 'published' | 'applied', number | null>>;
  readonly safety: Safety;
  readonly services: readonly ServiceLine[];
  /** Of the last day, the newest first. */
  readonly events: readonly PipelineEvent[];
  /** Null: no sink has ever answered, and `cartsProblem` says why. */
  readonly carts: CartsStatus | null;
  /** When it was read, where no sink answers now: ISO 8601. */
  readonly cartsAt: string | null;
  readonly cartsProblem: string | null;
}

/** Nothing moved for this long although something is pending. */
const STALLED_MS = 15_000;

/**
 * @param rounds oldest first, the last one is shown; those of the last minute and before give rates and latency
 * @param awaySince since when a service has not answered, in milliseconds since 1970, by its URL
 */
export function describeRounds(
  rounds: readonly Round[],
  awaySince: ReadonlyMap<string, number>,
): Omit<Overview, 'events'> {
  const round = rounds.at(-1)!;
  const minuteAgo = rounds.findLast((one) => atOf(one) <= atOf(round) - 60_000) ?? rounds[0]!;
  const shortlyBefore = rounds.findLast((one) => atOf(one) <= atOf(round) - 5_000) ?? rounds[0]!;
  const rates = {
    read: rateOf('tillstream_reader_orders_read_total', shortlyBefore, round),
    published: rateOf('tillstream_reader_orders_published_total', shortlyBefore, round),
    applied: rateOf('tillstream_sink_orders_applied_total', shortlyBefore, round),
  };
  const progress = measureProgress(rounds, rates);
  const carts = round.find((one) => one.carts !== undefined)?.carts;
  const latencyName = 'tillstream_sink_commit_to_commit_seconds';
  return {
    at: new Date(atOf(round)).toISOString(),
    verdict: findVerdict(round, progress, awaySince),
    ladder: buildLadder(round, progress),
    latency: {
      ofLastMinute: findQuantiles(
        readBuckets(metricsOf(minuteAgo), latencyName),
        readBuckets(metricsOf(round), latencyName),
      ),
    },
    rates,
    safety: describeSafety(minuteAgo, round),
    services: round.map((reading) => describeService(reading, carts)),
    carts: carts ?? null,
    cartsAt: null,
    cartsProblem: round.find(({ cartsProblem }) => cartsProblem !== undefined)?.cartsProblem ?? null,
  };
}

function measureProgress(rounds: readonly Round[], rates: Overview['rates']): Progress {
  const round = rounds.at(-1)!;
  const reader = streamingReaderOf(round);
  const ages = [
    ...listLags('tillstream_sink_lag_seconds', round),
    ...(reader?.get('tillstream_reader_lag_seconds') ?? []).map(({ value }) => value),
  ];
  return {
    isStreaming: reader !== undefined,
    pendingRecords: countPending(round),
    lagSeconds: ages.length === 0 ? null : Math.max(...ages),
    publishedPerSecond: rates.published,
    appliedPerSecond: rates.applied,
    stalledSinceMs: findStall(rounds),
  };
}

/** By partition, but for those that are halted: they are not catching up. */
function listLags(name: string, round: Round): readonly number[] {
  return metricsOf(round, 'cart-sink').flatMap((samples) => {
    const halted = samples.get('tillstream_halted_partitions') ?? [];
    const isHalted = ({ topic, partition }: Record<string, string>) =>
      halted.some(({ labels, value }) => value === 1 && labels.topic === topic && labels.partition === partition);
    return (samples.get(name) ?? []).filter(({ labels }) => !isHalted(labels)).map(({ value }) => value);
  });
}

/** Null where no sink tells. */
function countPending(round: Round): number | null {
  const lags = listLags('tillstream_sink_lag_records', round);
  return lags.length === 0 ? null : lags.reduce((sum, value) => sum + value, 0);
}

/** Since when records are pending and none was applied. */
function findStall(rounds: readonly Round[]): number | null {
  const round = rounds.at(-1)!;
  const applied = (one: Round) => sumOf('tillstream_sink_orders_applied_total', one);
  const isPending = (one: Round) => (countPending(one) ?? 0) > 0;
  if (!isPending(round)) return null;
  const now = applied(round);
  const moved = rounds.findLastIndex((one) => applied(one) !== now || !isPending(one));
  const since = atOf(rounds[moved + 1] ?? round);
  return atOf(round) - since >= STALLED_MS ? since : null;
}

function describeService(
  { kind, url, answer, recent, problem }: ServiceReading,
  carts: CartsStatus | undefined,
): ServiceLine {
  const metrics = answer?.metrics;
  const restarts = kind === 'cdc-reader' ? 'tillstream_reader_restarts_total' : 'tillstream_sink_restarts_total';
  return {
    kind,
    url,
    state: answer === undefined ? null : (answer.pipeline.state ?? (answer.isWell ? 'working' : 'not working')),
    isWell: answer?.isWell ?? false,
    version: metrics?.get('tillstream_build_info')?.[0]?.labels.version ?? null,
    partitions: (metrics && findValue(metrics, 'tillstream_sink_assigned_partitions')) ?? null,
    owned: kind === 'cart-sink' && metrics !== undefined ? describeOwned(metrics, carts) : [],
    startedAt: recent?.startedAt ?? null,
    restarts: kind === 'order-api' || metrics === undefined ? null : (sumValues(metrics, restarts) ?? 0),
    problem: problem ?? null,
  };
}
