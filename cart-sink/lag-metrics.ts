/**
 * How far each owned partition is, and how far behind: computed at each scrape, so that a lag goes on growing while nothing moves.
 *
 * Guarantees: a figure that is too old to be true has no series; after a halt of the whole sink, the partitions that it had go on
 * ageing, since nobody applies them any more. Leaves to consume/lag-monitor.ts: the measuring.
 */
import type { Metrics, StateSample } from '#service/metrics.ts';
import type { PartitionLag } from './consume/lag-monitor.ts';
import type { Ownership, TopicPartition } from './sql/consumer-offsets.ts';

/** Longer than a measurement every minute, which is the rarest that can be set, and a broker that takes its time. */
const STALE_MS = 90_000;

interface Standing extends TopicPartition {
  readonly nextOffset: bigint;
  /** Undefined before the first measurement. */
  readonly measured:
    | { readonly end: bigint; readonly behindSinceMs: number | undefined; readonly atMs: number }
    | undefined;
  /** Of the newest applied order; undefined before the first. */
  readonly committedAtMs: number | undefined;
  readonly ownedAtMs: number;
}

type Place = 'topic' | 'partition';

/** Of the end that was measured, what is not applied by now. */
const pendingOf = ({ measured, nextOffset }: Standing): bigint =>
  measured === undefined || measured.end <= nextOffset ? 0n : measured.end - nextOffset;

export function createLagMetrics(metrics: Metrics, nowMs: () => number = Date.now) {
  const standings = new Map<string, Standing>();
  let given: readonly Standing[] = [];
  let haltedAtMs: number | undefined;
  const keyOf = ({ topic, partition }: TopicPartition): string => `${topic}[${partition}]`;
  const change = (place: TopicPartition, changes: Partial<Standing>): void => {
    const standing = standings.get(keyOf(place));
    if (standing !== undefined) standings.set(keyOf(place), { ...standing, ...changes });
  };
  const register = (name: string, help: string, read: (standing: Standing) => number | undefined): void =>
    metrics.state(name, help, ['topic', 'partition'], () =>
      [...standings.values()].flatMap((standing): StateSample<Place>[] => {
        const value = read(standing);
        const { topic, partition } = standing;
        return value === undefined ? [] : [[{ topic, partition }, value]];
      }),
    );

  register('tillstream_sink_next_offset', 'The next offset to apply', ({ nextOffset }) => Number(nextOffset));
  register('tillstream_sink_lag_records', 'Offsets up to the last stable one that are not applied', (standing) => {
    const { measured } = standing;
    const isOld = measured === undefined || nowMs() - measured.atMs > STALE_MS || haltedAtMs !== undefined;
    return isOld ? undefined : Number(pendingOf(standing));
  });
  register(
    'tillstream_sink_lag_seconds',
    'While there is a lag: age of the oldest pending record, or of the last order; else 0',
    (standing) => {
      const { measured, committedAtMs, ownedAtMs } = standing;
      if (measured === undefined) return undefined;
      const sinceMs = measured.behindSinceMs ?? committedAtMs ?? ownedAtMs;
      if (pendingOf(standing) > 0n) return Math.max(0, nowMs() - sinceMs) / 1_000;
      if (haltedAtMs !== undefined) return (nowMs() - haltedAtMs) / 1_000;
      return nowMs() - measured.atMs > STALE_MS ? undefined : 0;
    },
  );

  return {
    lagAssigned(owned: readonly Ownership[]): void {
      const before = new Map(standings);
      standings.clear();
      for (const { topic, partition, nextOffset } of owned) {
        const known = before.get(keyOf({ topic, partition }));
        const fresh = { measured: undefined, committedAtMs: undefined, ownedAtMs: nowMs() };
        standings.set(keyOf({ topic, partition }), { ...fresh, ...known, topic, partition, nextOffset });
      }
    },
    /** `committedAt`: of the newest order of the batch, in microseconds since 1970. */
    lagApplied(place: TopicPartition & { readonly nextOffset: bigint }, committedAt: bigint | undefined): void {
      const { nextOffset } = place;
      change(place, { nextOffset, ...(committedAt && { committedAtMs: Number(committedAt / 1_000n) }) });
    },
    lagMeasured(lags: readonly PartitionLag[]): void {
      for (const { behindSinceMs, nextOffset, records, ...place } of lags) {
        change(place, { nextOffset, measured: { end: nextOffset + records, behindSinceMs, atMs: nowMs() } });
      }
    },
    /** The group was left. */
    lagLeft(): void {
      given = [...standings.values()];
      standings.clear();
    },
    /** The sink has halted as a whole, and given its partitions up: what it had goes on ageing. */
    lagHalted(): void {
      haltedAtMs = nowMs();
      for (const standing of given) standings.set(keyOf(standing), standing);
    },
  };
}
