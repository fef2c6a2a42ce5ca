// Whether the sinks have applied what was published: partition by partition, both sides' counts and checksums, each written in
// that side's own transactions. Pure. Agreement means that every record of the run reached a sink, once, and was applied, had
// been applied already, or changed its order's effect.

import type { JsonValue } from '#schemas/replay/plan.ts';
import { EMPTY_TALLY, type ReplayTally } from '#schemas/replay/records.ts';
import type { RunResult } from './run-records.ts';

interface PartitionProof {
  readonly partition: number;
  readonly published: ReplayTally;
  /** Null before any sink has applied a record of the run. */
  readonly result: RunResult | null;
  /** Why it does not agree; null if it does. */
  readonly problem: string | null;
}

export interface Proof {
  readonly agrees: boolean;
  readonly partitions: readonly PartitionProof[];
}

/** Records of the run that the sinks have handled. */
export function countHandled({ applied, already, changed, parked }: RunResult): bigint {
  return applied + already + changed + parked;
}

/** Whether the sinks have applied the end record of the run in every partition. */
export function hasEnded(partitions: number, results: ReadonlyMap<number, RunResult>): boolean {
  return rangeOf(partitions).every((partition) => (results.get(partition)?.end ?? null) !== null);
}

/** Whether the sinks have handled everything that is published according to `tallies`. */
export function isHandled(tallies: ReadonlyMap<number, ReplayTally>, results: ReadonlyMap<number, RunResult>): boolean {
  return [...tallies].every(([partition, { count }]) => {
    const result = results.get(partition);
    return result !== undefined && countHandled(result) >= count;
  });
}

export function compareSides(
  partitions: number,
  tallies: ReadonlyMap<number, ReplayTally>,
  results: ReadonlyMap<number, RunResult>,
): Proof {
  const proofs = rangeOf(partitions).map((partition): PartitionProof => {
    const published = tallies.get(partition) ?? EMPTY_TALLY;
    const result = results.get(partition) ?? null;
    return { partition, published, result, problem: findProblem(published, result) };
  });
  return { agrees: proofs.every(({ problem }) => problem === null), partitions: proofs };
}

function findProblem(published: ReplayTally, result: RunResult | null): string | null {
  if (result === null) return 'no sink has applied any of it';
  const { end, checksum, parked } = result;
  if (end === null) return 'its end record has not been applied';
  if (end.count !== published.count || end.checksum !== published.checksum) {
    return `${end.count} published by its end record, ${published.count} by the progress record`;
  }
  const handled = countHandled(result);
  if (handled !== published.count) return `${published.count} published, ${handled} arrived`;
  if (checksum !== published.checksum) return 'the same number arrived, but other records';
  if (parked > 0n) return `${parked} could not be applied and were parked (parked_events)`;
  return null;
}

/** For the run's row. */
export function formatVerdict({ agrees, partitions }: Proof): JsonValue {
  return {
    agrees,
    partitions: partitions.map(({ partition, published, result, problem }) => ({
      partition,
      problem,
      published: String(published.count),
      publishedChecksum: String(published.checksum),
      applied: String(result?.applied ?? 0n),
      already: String(result?.already ?? 0n),
      changed: String(result?.changed ?? 0n),
      parked: String(result?.parked ?? 0n),
      arrivedChecksum: String(result?.checksum ?? 0n),
    })),
  };
}

/** What is kept of a run's proof: the sums over its partitions; checksums are added modulo 2^64, as each of them is. */
export function summarizeProof(run: string, { partitions }: Proof, at: Date) {
  const sum = (of: (one: PartitionProof) => bigint): bigint => partitions.reduce((total, one) => total + of(one), 0n);
  const checksum = (of: (one: PartitionProof) => bigint) => BigInt.asUintN(64, sum(of)).toString(16).padStart(16, '0');
  return {
    kind: 'replay' as const,
    at: at.toISOString(),
    run,
    published: String(sum(({ published }) => published.count)),
    applied: String(sum(({ result }) => result?.applied ?? 0n)),
    already: String(sum(({ result }) => result?.already ?? 0n)),
    changed: String(sum(({ result }) => result?.changed ?? 0n)),
    parked: String(sum(({ result }) => result?.parked ?? 0n)),
    sourceChecksum: checksum(({ published }) => published.checksum),
    appliedChecksum: checksum(({ result }) => result?.checksum ?? 0n),
  };
}

function rangeOf(partitions: number): number[] {
  return Array.from({ length: partitions }, (_, partition) => partition);
}
