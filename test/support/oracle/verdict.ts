// How the oracle reports: for each invariant how many things were looked at, how many are wrong, and the first of them.
// An invariant that nothing was looked at for is visible as zero, so that an empty run can't pass for a clean one.

export type InvariantId = 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6' | 'I7';

export interface InvariantVerdict {
  readonly checked: number;
  readonly violations: number;
  /** The first ten, in words. */
  readonly first: readonly string[];
}

export interface Verdict {
  readonly clean: boolean;
  readonly counts: Readonly<Record<string, number>>;
  readonly invariants: Readonly<Record<InvariantId, InvariantVerdict>>;
}

/** Collects what the judging functions find. */
export interface Findings {
  /** Counts `things` as looked at for the invariant. */
  looked(id: InvariantId, things?: number): void;
  violated(id: InvariantId, what: string): void;
  /** Looks at one thing: `what` is said when `holds` is false. */
  expect(id: InvariantId, holds: boolean, what: () => string): void;
  count(name: string, value: number): void;
  verdict(): Verdict;
}

const longestList = 10;
const invariantIds: readonly InvariantId[] = ['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7'];

export function createFindings(): Findings {
  const counts: Record<string, number> = {};
  const found = Object.fromEntries(
    invariantIds.map((id) => [id, { checked: 0, violations: 0, first: [] as string[] }]),
  ) as unknown as Record<InvariantId, { checked: number; violations: number; first: string[] }>;
  const violated = (id: InvariantId, what: string) => {
    found[id].violations += 1;
    if (found[id].first.length < longestList) found[id].first.push(what);
  };
  return {
    looked: (id, things = 1) => {
      found[id].checked += things;
    },
    violated,
    expect(id, holds, what) {
      found[id].checked += 1;
      if (!holds) violated(id, what());
    },
    count: (name, value) => {
      counts[name] = value;
    },
    verdict: () => ({ clean: invariantIds.every((id) => found[id].violations === 0), counts, invariants: found }),
  };
}

/** The verdict as a text for a person. */
export function formatVerdict({ clean, counts, invariants }: Verdict): string {
  const lines = Object.entries(invariants).flatMap(([id, { checked, violations, first }]) => [
    `${id}: ${violations} of ${checked} violated`,
    ...first.map((what) => `  - ${what}`),
    ...(violations > first.length ? [`  … and ${violations - first.length} more`] : []),
  ]);
  const facts = Object.entries(counts).map(([name, value]) => `${name} ${value}`);
  return [clean ? 'The oracle finds no violation.' : 'The oracle finds violations.', facts.join(', '), ...lines].join(
    '\n',
  );
}

/** Throws an error with the whole verdict unless it is clean. */
export function assertClean(verdict: Verdict): void {
  if (!verdict.clean) throw new Error(formatVerdict(verdict));
}
