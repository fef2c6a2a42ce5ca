// What an operator wants to know first: is it well, and if not, what is wrong, since when, and which command repairs it. Pure.
// Guarantees: the worst comes first (halted, waiting, cannot tell, stalled, what somebody must decide about, catching up, idle, in
// step), and a service that does not answer never counts as well.
import type { CartsStatus } from '#schemas/carts-status.ts';
import type { ServiceKind, ServiceReading } from './read-service.ts';
import { streamingReaderOf } from './rounds.ts';

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
  /** Whether some reader streams; what the others say of lag and positions is of before. */
  readonly isStreaming: boolean;
  /** Published and not applied, in records; null: not known. */
  readonly pendingRecords: number | null;
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
  const troubles = readings.flatMap((reading) =>
    findTroubles(
      reading,
      awaySince.get(reading.url),
      streamingReaderOf(readings.filter((other) => other !== reading)) !== undefined,
    ),
  );
  const found = [
    ...troubles.map(({ finding }) => finding),
    ...findUndecided(readings.find(({ carts }) => carts !== undefined)?.carts),
    ...findLag(
      readings,
      progress,
      troubles.map(({ kind }) => kind),
    ),
  ];
  const sorted = found.toSorted((a, b) => WORST_FIRST.indexOf(a.kind) - WORST_FIRST.indexOf(b.kind));
  const [worst = NOTHING_KNOWN, ...others] = sorted;
  return { ...worst, others: others.filter(({ kind }) => kind !== 'idle' && kind !== 'in-step') };
}

const NOTHING_KNOWN: Finding = {
  kind: 'cannot-tell',
  title: 'cannot tell: no sink is known',
  detail:
    'Set CART_SINK_OPERATIONS_URLS to the operations addresses of the sinks: whether orders leave the carts is theirs to say.',
  command: null,
  since: null,
};

interface Trouble {
  readonly kind: ServiceKind;
  readonly finding: Finding;
}

/** @param isSpare whether another reader streams: then this one is a standby, whatever is wrong with it */
function findTroubles(reading: ServiceReading, awaySinceMs: number | undefined, isSpare: boolean): Trouble[] {
  const { kind, url, answer, problem } = reading;
  const make = (finding: Finding): Trouble => ({ kind, finding });
  const isStandby = kind === 'cdc-reader' && isSpare;
  if (answer === undefined) {
    const since = awaySinceMs === undefined ? null : new Date(awaySinceMs).toISOString();
    const detail = `${url} does not answer: ${problem}. Does it run, is its machine well, and is this its operations address?`;
    const title = isStandby ? 'no standby: a cdc-reader is away' : `${kind} is away`;
    return [make({ kind: isStandby ? 'to-decide' : 'cannot-tell', title, detail, command: null, since })];
  }
  const { isWell, pipeline } = answer;
  const partitions = listHaltedPartitions(reading);
  if (isWell && partitions.length === 0) return [];
  const { state, message, name, code } = pipeline as Record<string, string | undefined>;
  const since = typeof pipeline.since === 'string' ? pipeline.since : null;
  const whole = { detail: message ?? null, command: findCommand(message), since };
  if (isStandby) {
    const title = `no standby: the cdc-reader at ${new URL(url).host} ${state === 'halted' ? `is halted: ${code}` : `does not stand by: ${name ?? state}`}`;
    const detail = `Another reader streams. If what this one names is mended by now, end its process and start it again. It says: ${message ?? 'nothing'}`;
    return [make({ kind: 'to-decide', title, detail, command: null, since })];
  }
  if (state === 'halted' && code !== undefined)
    return [make({ kind: 'halted', title: `${kind} is halted: ${code}`, ...whole })];
  if (partitions.length > 0) return partitions.map(make);
  if (state === 'waiting') return [make({ kind: 'waiting', title: `${kind} waits: ${name}`, ...whole })];
  if (state === 'transient') {
    const detail =
      name === 'database-away' ? `${DATABASE_OF[kind]} can't be reached, or does not answer: ${message}` : whole.detail;
    return [make({ kind: 'stalled', title: `${kind} tries again: ${name}`, ...whole, detail })];
  }
  const what =
    state ??
    Object.entries(pipeline)
      .map(([part, text]) => `${part} ${text}`)
      .join(', ');
  return [make({ kind: 'stalled', title: `${kind} is not working: ${what}`, ...whole })];
}

const DATABASE_OF: Readonly<Record<ServiceKind, string>> = {
  'order-api': 'The orders database (ORDER_DATABASE_URL)',
  'cdc-reader': 'The orders database (ORDER_DATABASE_URL)',
  'cart-sink': 'The carts database (CART_DATABASE_URL)',
};

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
    const detail =
      `Not applied to any cart until somebody decides. The newest: ${place}, ${newest.reason}. Show it, then apply it after all ` +
      `(npm run parked -- retry ${newest.id}) or give it up (npm run parked -- discard ${newest.id} --reason '…').`;
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

/** @param troubled what has a finding of its own already */
function findLag(readings: readonly ServiceReading[], progress: Progress, troubled: readonly ServiceKind[]): Finding[] {
  const isKnown = (wanted: ServiceReading['kind']) =>
    readings.some(({ kind, answer }) => kind === wanted && answer !== undefined);
  if (!isKnown('cdc-reader') || !isKnown('cart-sink')) return [];
  const { isStreaming, pendingRecords, lagSeconds, appliedPerSecond, publishedPerSecond, stalledSinceMs } = progress;
  if (!isStreaming) {
    const detail = 'Orders stay in the write-ahead log until one does: within seconds after a start or a takeover.';
    const finding = { kind: 'stalled', title: 'no reader streams', detail, command: null, since: null } as const;
    return troubled.includes('cdc-reader') ? [] : [finding];
  }
  if (stalledSinceMs !== null) {
    const detail = `Up to ${pendingRecords} records are published and not applied, and none was for a while.`;
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
