// What an operator wants to know first: is it well, and if not, what is wrong, since when, and which command repairs it. Pure.
// Guarantees: the worst comes first (halted, waiting, cannot tell, stalled, what somebody must decide about, catching up, idle, in
// step), and a service that does not answer never counts as well.
import type { CartsStatus } from '#schemas/carts-status.ts';
import type { ServiceReading } from './read-service.ts';

type VerdictKind = 'halted' | 'waiting' | 'cannot-tell' | 'stalled' | 'to-decide' | 'catching-up' | 'idle' | 'in-step';

export interface Finding {
  readonly kind: VerdictKind;
  /** One line: what, and of whom. */
  readonly title: string;
  /** What was found, and what to do. */
  readonly detail: string | null;
  /** The command that repairs it, where it is one. */
  readonly command: string | null;
  /** ISO 8601; null: not known. */
  readonly since: string | null;
}

export interface Verdict extends Finding {
  /** The other findings, worst first. */
  readonly others: readonly Finding[];
}

/** What the positions and rates of both sides show. */
export interface Progress {
  /** Published and not applied, in records; null: not known. */
  readonly pendingRecords: number | null;
  /** WAL that is written and not published, in bytes; null: not known. */
  readonly pendingBytes: number | null;
  readonly lagSeconds: number | null;
  /** Orders a second, of the last seconds; null: not known yet. */
  readonly publishedPerSecond: number | null;
  readonly appliedPerSecond: number | null;
  /** Since when nothing moves although something is pending, in milliseconds since 1970; null: it moves. */
  readonly stalledSinceMs: number | null;
}

const WORST_FIRST: readonly VerdictKind[] = [
  'halted',
  'waiting',
  'cannot-tell',
  'stalled',
  'to-decide',
  'catching-up',
  'idle',
  'in-step',
];

/** Below this, nobody would call it behind: some batches are always on their way. */
const BEHIND_SECONDS = 5;

export function findVerdict(
  readings: readonly ServiceReading[],
  progress: Progress,
  awaySince: ReadonlyMap<string, number>,
): Verdict {
  const isRead = readings.some(({ kind, answer }) => kind === 'cdc-reader' && answer?.pipeline.state === 'streaming');
  const found = [
    ...readings.flatMap((reading) => findTroubles(reading, awaySince.get(reading.url), isRead)),
    ...findUndecided(readings.find(({ carts }) => carts !== undefined)?.carts),
    ...findLag(readings, progress),
  ];
  const sorted = found.toSorted((a, b) => WORST_FIRST.indexOf(a.kind) - WORST_FIRST.indexOf(b.kind));
  const [worst, ...others] = sorted;
  return { ...worst!, others: others.filter(({ kind }) => kind !== 'idle' && kind !== 'in-step') };
}

/** @param isRead whether some reader streams */
function findTroubles(reading: ServiceReading, awaySinceMs: number | undefined, isRead: boolean): Finding[] {
  const { kind, url, answer, problem } = reading;
  if (answer === undefined) {
    const since = awaySinceMs === undefined ? null : new Date(awaySinceMs).toISOString();
    const detail = `${url} does not answer: ${problem}. Is it running, and is this its operations address?`;
    const isStandby = kind === 'cdc-reader' && isRead;
    if (isStandby) {
      const title = 'no standby: a cdc-reader is away';
      return [{ kind: 'to-decide', title, detail, command: 'npm run cdc-reader', since }];
    }
    return [{ kind: 'cannot-tell', title: `${kind} is away`, detail, command: null, since }];
  }
  const { isWell, pipeline } = answer;
  const partitions = listHaltedPartitions(reading);
  if (isWell && partitions.length === 0) return [];
  const { state, message, name, code } = pipeline as Record<string, string | undefined>;
  const since = typeof pipeline.since === 'string' ? pipeline.since : null;
  const whole = { detail: message ?? null, command: findCommand(message), since };
  if (state === 'halted' && code !== undefined)
    return [{ kind: 'halted', title: `${kind} is halted: ${code}`, ...whole }];
  if (partitions.length > 0) return partitions;
  if (state === 'waiting') return [{ kind: 'waiting', title: `${kind} waits: ${name}`, ...whole }];
  if (state === 'transient') return [{ kind: 'stalled', title: `${kind} tries again: ${name}`, ...whole }];
  return [{ kind: 'stalled', title: `${kind} is not working: ${state}`, ...whole }];
}

function listHaltedPartitions({ answer, carts }: ServiceReading): Finding[] {
  const own = (answer?.pipeline.haltedPartitions ?? []) as readonly Record<string, unknown>[];
  return own.map(({ topic, partition, code, message }) => {
    const stored = carts?.haltedPartitions.find((one) => one.topic === topic && one.partition === partition);
    return {
      kind: 'halted',
      title: `${topic}[${partition}] is halted: ${code}`,
      detail: String(message),
      command: stored?.command ?? findCommand(String(message)),
      since: stored?.since ?? null,
    };
  });
}

/** What goes on as it is, and leaves orders and carts that disagree. */
function findUndecided(carts: CartsStatus | undefined): Finding[] {
  if (carts === undefined) return [];
  const { parked, lastAudit } = carts;
  const found: Finding[] = [];
  const newest = parked.newest[0];
  if (newest !== undefined) {
    const title = parked.count === 1 ? 'an event is parked' : `${parked.count} events are parked`;
    const place = `${newest.topic}[${newest.partition}] offset ${newest.offset}`;
    const detail = `Not applied to any cart until somebody decides. The newest: ${place}, ${newest.reason}.`;
    found.push({ kind: 'to-decide', title, detail, command: newest.command, since: newest.parkedAt });
  }
  if (lastAudit?.verdict === 'differ') {
    const title = `the last audit found ${lastAudit.differences} differences`;
    const detail = 'It printed each with its remedy. After that, audit again.';
    found.push({ kind: 'to-decide', title, detail, command: 'npm run audit', since: lastAudit.at });
  }
  return found;
}

/** Messages name their remedy; a command in one can be copied, and nothing of the sentence around it. */
function findCommand(message: string | undefined): string | null {
  const [, quoted] = /`((?:[A-Z_]+=\S+ )*npm run [^`]+)`/.exec(message ?? '') ?? [];
  const [plain] = /npm run [a-z-]+(?: -- [^;,.:()`]*[^;,.:()`\s])?/.exec(message ?? '') ?? [];
  return quoted ?? plain ?? null;
}

function findLag(readings: readonly ServiceReading[], progress: Progress): Finding[] {
  const isKnown = (wanted: ServiceReading['kind']) =>
    readings.some(({ kind, answer }) => kind === wanted && answer !== undefined);
  if (!isKnown('cdc-reader') || !isKnown('cart-sink')) return [];
  const { pendingRecords, lagSeconds, appliedPerSecond, publishedPerSecond, stalledSinceMs } = progress;
  if (stalledSinceMs !== null) {
    const detail = `${pendingRecords ?? 'Some'} records are published and not applied, and none was for a while.`;
    return [
      { kind: 'stalled', title: 'stalled', detail, command: null, since: new Date(stalledSinceMs).toISOString() },
    ];
  }
  const isBehind = (lagSeconds ?? 0) > BEHIND_SECONDS;
  if (isBehind) {
    const left =
      appliedPerSecond && pendingRecords ? ` (about ${Math.ceil(pendingRecords / appliedPerSecond)} s left)` : '';
    const detail = `What was committed ${Math.round(lagSeconds!)} s ago is not in the carts yet.`;
    return [{ kind: 'catching-up', title: `catching up${left}`, detail, command: null, since: null }];
  }
  const isIdle = publishedPerSecond === 0 && appliedPerSecond === 0;
  return [
    { kind: isIdle ? 'idle' : 'in-step', title: isIdle ? 'idle' : 'in step', detail: null, command: null, since: null },
  ];
}
