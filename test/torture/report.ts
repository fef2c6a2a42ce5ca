// What a torture run prints: a line every few seconds, a line a fault, and the verdict per invariant at the end. Pure,
// but for the clock of its lines. I1 to I7 are the oracle's; the run itself knows about recovery (I8), unreadable
// records (I9), replays (I10) and halts (I11).

import type { InvariantVerdict, Verdict } from '../support/oracle/verdict.ts';
import type { LoadCounts } from './load.ts';
import type { Fault, TorturePlan } from './plan.ts';
import { type Recovery, summarize } from './recovery.ts';

export interface RunFacts {
  readonly plan: TorturePlan;
  /** What repeats the run. */
  readonly command: string;
  readonly seconds: number;
  readonly load: LoadCounts;
  /** Those that were carried out. */
  readonly faults: readonly Fault[];
  readonly recoveries: readonly Recovery[];
  /** What did not come back in time, the final drain included. */
  readonly notRecovered: readonly string[];
  /** Faults that could not be carried out as they should, halts and crashes, in words. */
  readonly troubles: readonly string[];
  readonly replays: { readonly runs: number; readonly records: number; readonly changed: number };
  /** Undefined when the facts could not be read. */
  readonly oracle: Verdict | undefined;
}

export type RunVerdict = { readonly clean: boolean; readonly text: string };

export interface Progress {
  readonly elapsedMs: number;
  readonly committed: number;
  readonly published: number;
  readonly applied: number;
  readonly faults: number;
  readonly current: string;
}

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`;

export function formatProgress({ elapsedMs, committed, published, applied, faults, current }: Progress): string {
  const time = seconds(elapsedMs).padStart(8);
  return `${time}  committed ${committed}  published ${published}  applied ${applied}  faults ${faults}  ${current}`;
}

export function describeFault({ class: of, kind, lastsMs, target, variant, company, atMs }: Fault): string {
  const beside = company === undefined ? '' : `, and ${company.atMs - atMs} ms later ${describeFault(company)}`;
  return `${of} ${kind} (${lastsMs} ms, target ${target}, variant ${variant.toFixed(2)})${beside}`;
}

/** Judges the run: clean only when every invariant was looked at and held, and nothing happened that must not. */
export function judgeRun(facts: RunFacts): RunVerdict {
  const { oracle, troubles, notRecovered, recoveries, replays } = facts;
  const halts = troubles.filter((trouble) => trouble.includes(' halted: '));
  const unreadable = oracle?.counts['records unreadable'] ?? 0;
  const own: Record<string, InvariantVerdict> = {
    I8: judged(recoveries.length + notRecovered.length, notRecovered),
    I9: judged(oracle?.counts['records committed'] ?? 0, unreadable > 0 ? [`${unreadable} records can't be read`] : []),
    I10: judged(
      replays.records,
      replays.changed > 0 ? [`replays under an unchanged rule changed ${replays.changed} orders`] : [],
    ),
    I11: judged(facts.faults.length, halts),
  };
  const invariants = { ...oracle?.invariants, ...own };
  const others = troubles.filter((trouble) => !halts.includes(trouble));
  const unread = oracle === undefined ? ['The facts could not be read: I1 to I7 are not judged.'] : [];
  const violated = Object.entries(invariants).filter(([, { violations }]) => violations > 0);
  const planned = new Set(facts.plan.faults.map(({ class: of }) => of));
  const unseen = Object.entries(invariants)
    .filter(([id, { checked }]) => checked === 0 && (id !== 'I10' || planned.has('replay')))
    .map(([id]) => `There was nothing to judge ${id} by: let it run for longer.`);
  const problems = [...others, ...unread, ...(oracle === undefined ? [] : unseen)];
  const clean = violated.length + problems.length === 0;
  return { clean, text: formatRun(facts, invariants, problems, clean) };
}

const judged = (checked: number, first: readonly string[]): InvariantVerdict => ({
  checked: Math.max(checked, first.length),
  violations: first.length,
  first: first.slice(0, 10),
});

function formatRun(
  facts: RunFacts,
  invariants: Readonly<Record<string, InvariantVerdict>>,
  others: readonly string[],
  clean: boolean,
): string {
  const { plan, load, faults, oracle, replays } = facts;
  const counts = oracle?.counts ?? {};
  const verdicts = Object.entries(invariants).map(([id, { checked, violations }]) => {
    const outcome = violations > 0 ? `${violations} VIOLATED` : checked === 0 ? 'nothing to look at' : 'holds';
    return `  ${id.padEnd(4)} ${String(checked).padStart(8)} checked  ${outcome}`;
  });
  return [
    '',
    `${clean ? 'CLEAN' : 'FAILED'}: seed ${plan.seed}, ${seconds(facts.seconds * 1_000)}, ${faults.length} faults`,
    `orders: ${counts.orders ?? '?'} committed, ${counts['records committed'] ?? '?'} published ` +
      `(${counts['records aborted'] ?? '?'} records aborted), ${counts.ledger ?? '?'} applied, ${counts.parked ?? '?'} parked`,
    `carts: ${load.additions} additions, ${load.edits} edits, ${load.unknown} of unknown outcome; ` +
      `${counts['items undetermined'] ?? '?'} of ${counts.removals ?? '?'} removals depend on who came first`,
    `load: ${load.steps} steps, refused or cut off: ${formatFailures(load)}`,
    `replays: ${replays.runs} runs, ${replays.records} records`,
    ...verdicts,
    'faults, and the worst recovery of each kind (undisturbed; with another fault in the midst of it):',
    ...formatRecoveries(facts),
    ...(clean ? [] : formatFailure(facts, invariants, others)),
  ].join('\n');
}

const formatFailures = ({ failures }: LoadCounts) =>
  [...failures].map(([reason, count]) => `${reason} ${count}`).join(', ') || 'none';

function formatRecoveries({ faults, recoveries }: RunFacts): string[] {
  const byKind = Map.groupBy(faults, ({ kind }) => kind);
  const summaries = new Map(summarize(recoveries).map((one) => [one.kind as string, one]));
  return [...byKind]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([kind, { length }]) => {
      const summary = summaries.get(kind);
      const alone = summary?.worstAloneMs === undefined ? '-' : seconds(summary.worstAloneMs);
      const disturbed = summary !== undefined && summary.aloneCount < summary.count ? seconds(summary.worstMs) : '-';
      return `  ${kind.padEnd(26)} ${String(length).padStart(3)} ×  ${alone.padStart(8)}  ${disturbed.padStart(8)}`;
    });
}

function formatFailure(
  { command, faults, oracle }: RunFacts,
  invariants: Readonly<Record<string, InvariantVerdict>>,
  others: readonly string[],
): string[] {
  const first = Object.values(oracle?.invariants ?? {}).find(({ violations }) => violations > 0)?.first[0];
  return [
    ...Object.entries(invariants).flatMap(([id, { first: found, violations }]) => [
      ...found.map((what) => `  ${id}: ${what}`),
      ...(violations > found.length ? [`  ${id}: … and ${violations - found.length} more`] : []),
    ]),
    ...others.map((what) => `  trouble: ${what}`),
    `first record that differs: ${first ?? 'none'}`,
    `last faults: ${faults.slice(-5).map(describeFault).join('; ') || 'none'}`,
    `run again: ${command}`,
  ];
}
