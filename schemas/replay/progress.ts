// The progress of a replay run, written in each of its Kafka transactions: it states exactly what is committed, so that a
// run resumes after any crash without a duplicate or a gap. Pure: its form as JSON, and its arithmetic. Publishing is left
// to the replay tool.

import {
  formatPass,
  formatPlan,
  integer,
  type JsonValue,
  object,
  type PlannedPass,
  parsePass,
  parsePlan,
  type ReplayPlan,
} from './plan.ts';
import { addTallies, addToTally, EMPTY_TALLY, type ReplayTally } from './records.ts';

/**
 * `publishing`: a pass is being published; `between`: the first pass is published, and the second one waits until the sinks
 * have applied it; `done`: everything is published, end records included.
 */
type ProgressState = 'publishing' | 'between' | 'done';

export interface Progress {
  readonly plan: ReplayPlan;
  readonly state: ProgressState;
  readonly pass: PlannedPass;
  /** 1 or 2. */
  readonly passNumber: number;
  /** Where the pass resumes; null at its beginning. */
  readonly cursor: JsonValue | null;
  /** The published orders by partition; a partition without any has no entry. */
  readonly tallies: ReadonlyMap<number, ReplayTally>;
  readonly skipped: number;
}

const VERSION = 1;

export function beginProgress(plan: ReplayPlan): Progress {
  const { pass } = plan;
  return { plan, state: 'publishing', pass, passNumber: 1, cursor: null, tallies: new Map(), skipped: 0 };
}

/** The progress once `orders` are published. */
export function addOrders(
  progress: Progress,
  orders: readonly { readonly partition: number; readonly key: string; readonly value: Buffer }[],
  { cursor, skipped }: { cursor: JsonValue; skipped: number },
): Progress {
  const tallies = new Map(progress.tallies);
  for (const { partition, key, value } of orders) {
    tallies.set(partition, addToTally(tallies.get(partition) ?? EMPTY_TALLY, Buffer.from(key), value));
  }
  return { ...progress, cursor, tallies, skipped: progress.skipped + skipped };
}

/** The number of published orders over all partitions. */
export function countPublished({ tallies }: Pick<Progress, 'tallies'>): bigint {
  return [...tallies.values()].reduce(addTallies, EMPTY_TALLY).count;
}

export function formatProgress(progress: Progress): Buffer {
  const tallies = [...progress.tallies].map(([partition, { count, checksum }]) => [
    partition,
    `${count}`,
    `${checksum}`,
  ]);
  const { state, passNumber, cursor, skipped } = progress;
  const json = { version: VERSION, state, passNumber, pass: formatPass(progress.pass), cursor, skipped, tallies };
  return Buffer.from(JSON.stringify({ ...json, plan: formatPlan(progress.plan) }));
}

/** @throws Error if it is of another version, or not what {@link formatProgress} writes */
export function parseProgress(value: Buffer): Progress {
  const json = object(JSON.parse(value.toString('utf8')));
  if (json.version !== VERSION) throw new Error(`its version is ${json.version}, this tool knows ${VERSION}`);
  const states: readonly ProgressState[] = ['publishing', 'between', 'done'];
  const state = states.find((one) => one === json.state);
  if (state === undefined) throw new Error(`expected one of ${states.join(', ')}`);
  return {
    plan: parsePlan(json.plan),
    state,
    pass: parsePass(json.pass),
    passNumber: integer(json.passNumber),
    cursor: json.cursor as JsonValue,
    tallies: new Map(
      (json.tallies as [number, string, string][]).map(([partition, count, checksum]) => [
        integer(partition),
        { count: BigInt(count), checksum: BigInt(checksum) },
      ]),
    ),
    skipped: integer(json.skipped),
  };
}
