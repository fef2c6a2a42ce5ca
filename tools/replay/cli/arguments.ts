// Reads what an operator asks for from the command line's texts, and checks it against what the pipeline has done. Pure.
// Guarantees: a bad argument is refused by its name with what would be valid, before anything is changed.

import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { SourceKind } from '#schemas/replay/plan.ts';
import type { ReplayMode } from '#schemas/replay/records.ts';
import { isInHistory, type TimelineSwitch, timelineOf } from '#schemas/timeline.ts';
import { ArgumentError } from './errors.ts';
import { formatTime, parseTime } from './parse-time.ts';

/** `[timeline:]X/Y`; a null timeline is the one on which X/Y lies. */
export interface PointArgument {
  readonly timeline: number | null;
  readonly commitLsn: Lsn;
}

export interface ReplayRequest {
  readonly mode: ReplayMode;
  readonly source: SourceKind | 'auto';
  readonly from:
    | { readonly kind: 'lsn'; readonly point: PointArgument }
    | { readonly kind: 'time' /** Microseconds since 1970. */; readonly at: bigint }
    | null;
  /** Null: everything that every sink partition has applied. */
  readonly to: PointArgument | null;
  /** Empty: every user's. */
  readonly users: readonly string[];
  /** Empty: every order. Lower case. */
  readonly orderIds: readonly string[];
  readonly dryRun: boolean;
  /** Do not ask for confirmation. */
  readonly yes: boolean;
  /** Orders a second; null: unlimited. */
  readonly ratePerSecond: number | null;
}

/** The options as commander has them. */
export interface ReplayOptions {
  readonly fromLsn?: string;
  readonly toLsn?: string;
  readonly fromTime?: string;
  readonly mode?: string;
  readonly source?: string;
  readonly user?: readonly string[];
  readonly order?: readonly string[];
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly rate?: string;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const USER_ID = /^[A-Za-z0-9._:-]{1,64}$/;
const LARGEST_RATE = 1_000_000;

/** @throws ArgumentError */
export function parseRequest(options: ReplayOptions, nowMs: number): ReplayRequest {
  const source = oneOf('--source', options.source ?? 'auto', ['auto', 'kafka', 'wal', 'tables'] as const);
  const mode = oneOf('--mode', options.mode ?? 'repair', ['repair', 'reapply'] as const);
  if (options.fromLsn !== undefined && options.fromTime !== undefined) {
    throw new ArgumentError('--from-time', 'give --from-lsn or --from-time, not both');
  }
  const request: ReplayRequest = {
    mode,
    source,
    from: parseFrom(options, nowMs),
    to: options.toLsn === undefined ? null : parsePoint('--to-lsn', options.toLsn),
    users: (options.user ?? []).map(parseUser),
    orderIds: (options.order ?? []).map(parseOrderId),
    dryRun: options.dryRun === true,
    yes: options.yes === true,
    ratePerSecond: options.rate === undefined ? null : parseRate(options.rate),
  };
  if (source !== 'tables' && request.from === null) {
    throw new ArgumentError(
      '--from-lsn',
      'the start of the range is missing: give --from-lsn X/Y or --from-time, or use --source tables',
    );
  }
  if (source === 'tables') refuseWithTables(request);
  return request;
}

function refuseWithTables({ from, to }: ReplayRequest): void {
  const given = from === null ? (to === null ? null : '--to-lsn') : from.kind === 'lsn' ? '--from-lsn' : '--from-time';
  if (given !== null) {
    throw new ArgumentError(
      given,
      'tables hold no positions: --source tables replays all orders (in mode repair, those that the ledger lacks)',
    );
  }
}

function parseFrom(options: ReplayOptions, nowMs: number): ReplayRequest['from'] {
  if (options.fromLsn !== undefined) return { kind: 'lsn', point: parsePoint('--from-lsn', options.fromLsn) };
  if (options.fromTime === undefined) return null;
  let at: bigint;
  try {
    at = parseTime(options.fromTime);
  } catch (cause) {
    throw new ArgumentError('--from-time', (cause as Error).message);
  }
  const now = BigInt(nowMs) * 1000n;
  if (at > now) throw new ArgumentError('--from-time', `is in the future; valid is up to now, ${formatTime(now)}`);
  return { kind: 'time', at };
}

/** Reads `[timeline:]X/Y`. @throws ArgumentError */
export function parsePoint(argument: string, text: string): PointArgument {
  const [, timeline, position] = /^(?:(\d{1,10}):)?(.*)$/s.exec(text)!;
  try {
    return { timeline: timeline === undefined ? null : Number(timeline), commitLsn: parseLsn(position!) };
  } catch (cause) {
    throw new ArgumentError(argument, `${(cause as Error).message}; a timeline may stand before it, like 1:0/16B3748`);
  }
}

/** @throws ArgumentError */
export function parseRunId(text: string): string {
  if (!UUID.test(text)) throw new ArgumentError('RUN_ID', `${JSON.stringify(text)} is no run id: expected a UUID`);
  return text.toLowerCase();
}

/** What bounds a range: the positions of the pipeline now. */
export interface KnownHistory {
  readonly timeline: number;
  readonly history: readonly TimelineSwitch[];
  /** Everything before it is published. */
  readonly publishedThroughLsn: Lsn;
  /** Everything before it is applied by every sink. */
  readonly appliedThroughLsn: Lsn;
}

/** The range that was asked for, [from, to). @throws ArgumentError naming the argument and the valid range */
export function checkRange(from: PointArgument, to: PointArgument | null, known: KnownHistory): LsnRange {
  checkPoint('--from-lsn', from, known);
  if (to !== null) checkPoint('--to-lsn', to, known);
  const range = { fromLsn: from.commitLsn, toLsn: to?.commitLsn ?? known.appliedThroughLsn };
  if (to !== null && range.fromLsn >= range.toLsn) {
    const valid = `valid is a position before --to-lsn ${formatLsn(range.toLsn)}, which is exclusive`;
    throw new ArgumentError('--from-lsn', `${formatLsn(range.fromLsn)} is not before the end; ${valid}`);
  }
  return range;
}

function checkPoint(argument: string, point: PointArgument, known: KnownHistory): void {
  const { timeline, history, publishedThroughLsn, appliedThroughLsn } = known;
  const text = formatLsn(point.commitLsn);
  if (point.timeline !== null) {
    const actual = timelineOf(point.commitLsn, timeline, history);
    if (point.timeline !== actual) {
      const why = isInHistory(point.timeline, timeline, history)
        ? `${text} lies on timeline ${actual}, not ${point.timeline}`
        : `timeline ${point.timeline} is not in the history of this database`;
      throw new ArgumentError(argument, `${why}; valid are ${formatTimelines(known)}`);
    }
  }
  if (point.commitLsn <= appliedThroughLsn) return;
  const valid = `valid is up to ${formatLsn(appliedThroughLsn)}`;
  if (point.commitLsn <= publishedThroughLsn) {
    throw new ArgumentError(argument, `${text} is published, but not yet applied by every sink; ${valid} now`);
  }
  throw new ArgumentError(argument, `${text} is in the future; ${valid}, which every sink has applied`);
}

function formatTimelines({ timeline, history, appliedThroughLsn }: KnownHistory): string {
  const ends = [
    ...history.map(({ timeline: id, endsAtLsn }) => [id, endsAtLsn] as const),
    [timeline, appliedThroughLsn] as const,
  ];
  return ends
    .map(
      ([id, end], index) => `${id}:${index === 0 ? '0/0' : formatLsn(ends[index - 1]![1])} to ${id}:${formatLsn(end)}`,
    )
    .join(', ');
}

function parseUser(text: string): string {
  if (!USER_ID.test(text)) throw new ArgumentError('--user', 'no user id: 1 to 64 characters of A-Z a-z 0-9 . _ : -');
  return text;
}

function parseOrderId(text: string): string {
  if (!UUID.test(text)) throw new ArgumentError('--order', `${JSON.stringify(text)} is no order id: expected a UUID`);
  return text.toLowerCase();
}

function parseRate(text: string): number {
  const rate = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (rate < 1 || rate > LARGEST_RATE) {
    throw new ArgumentError(
      '--rate',
      `${JSON.stringify(text)} is no rate: valid are 1 to ${LARGEST_RATE} orders a second`,
    );
  }
  return rate;
}

function oneOf<const T extends string>(argument: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === text);
  if (found === undefined) {
    throw new ArgumentError(argument, `${JSON.stringify(text)} is not known; valid are ${allowed.join(', ')}`);
  }
  return found;
}
