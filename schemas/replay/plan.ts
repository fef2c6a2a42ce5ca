// The plan of a replay run, made before it begins and stored with it in the carts database and in every progress record,
// so that whoever resumes the run does the same. Pure: the plan's form as JSON (LSNs as X/Y text, times as microseconds in
// text). Making a plan is left to the replay tool.

import type { LsnRange } from '#schemas/checkpoint.ts';
import { formatLsn, type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { ReplayMode, ReplayStamp } from './records.ts';

export type SourceKind = 'kafka' | 'wal' | 'tables';

/** A JSON value; 64-bit numbers are text. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** One read of one source. */
export interface PlannedPass {
  readonly source: SourceKind;
  /** Null for the tables, which have no positions. */
  readonly range: LsnRange | null;
}

/** Which orders of the range to replay; an empty list does not restrict. */
export interface OrderFilter {
  readonly users: readonly string[];
  readonly orderIds: readonly string[];
}

/** What the source and the carts held before the run. */
export interface Survey {
  readonly orders: number;
  /** Orders that the ledger lacks. */
  readonly unknown: number;
  /** Known orders whose effect would change; null in mode repair, which does not compare. */
  readonly changing: number | null;
  /** Records that can't be decoded. */
  readonly skipped: number;
  readonly first: SurveyedOrder | null;
  readonly last: SurveyedOrder | null;
}

export interface SurveyedOrder {
  /** `timeline:commitLsn:ordinal`. */
  readonly position: string;
  /** Microseconds since 1970. */
  readonly committedAt: bigint;
}

export interface ReplayPlan extends ReplayStamp, OrderFilter {
  readonly pass: PlannedPass;
  /** Up to where every sink had applied when the plan was made, exclusive. */
  readonly appliedThroughLsn: Lsn;
  /** No end was given: mode reapply adds a second pass (publish-run.ts). */
  readonly isOpenEnded: boolean;
  /** Why this source was chosen. */
  readonly why: string;
  readonly systemIdentifier: string;
  readonly database: string;
  readonly generation: number;
  /** Partitions that hold orders; each gets an end record. */
  readonly partitions: number;
  readonly ratePerSecond: number | null;
  readonly survey: Survey;
}

export function stampOf({ runId, mode, ruleVersion }: ReplayPlan): ReplayStamp {
  return { runId, mode, ruleVersion };
}

/** Creates the predicate for the orders that the filter includes. */
export function createOrderFilter({
  users,
  orderIds,
}: OrderFilter): (order: { readonly event: { readonly userId: string; readonly orderId: string } }) => boolean {
  const [wantedUsers, wantedOrders] = [new Set(users), new Set(orderIds)];
  return ({ event }) =>
    (wantedUsers.size === 0 || wantedUsers.has(event.userId)) &&
    (wantedOrders.size === 0 || wantedOrders.has(event.orderId));
}

export function formatPass({ source, range }: PlannedPass): JsonValue {
  return { source, range: range && { fromLsn: formatLsn(range.fromLsn), toLsn: formatLsn(range.toLsn) } };
}

export function formatPlan(plan: ReplayPlan): { readonly [name: string]: JsonValue } {
  const formatOrder = (order: SurveyedOrder | null) => order && { ...order, committedAt: String(order.committedAt) };
  const survey = { ...plan.survey, first: formatOrder(plan.survey.first), last: formatOrder(plan.survey.last) };
  return { ...plan, pass: formatPass(plan.pass), appliedThroughLsn: formatLsn(plan.appliedThroughLsn), survey };
}

/** @throws Error when it is not what {@link formatPlan} wrote */
export function parsePlan(json: unknown): ReplayPlan {
  const plan = object(json);
  const survey = object(plan.survey);
  return {
    runId: text(plan.runId),
    mode: text(plan.mode) as ReplayMode,
    ruleVersion: integer(plan.ruleVersion),
    users: texts(plan.users),
    orderIds: texts(plan.orderIds),
    pass: parsePass(plan.pass),
    appliedThroughLsn: parseLsn(text(plan.appliedThroughLsn)),
    isOpenEnded: plan.isOpenEnded === true,
    why: text(plan.why),
    systemIdentifier: text(plan.systemIdentifier),
    database: text(plan.database),
    generation: integer(plan.generation),
    partitions: integer(plan.partitions),
    ratePerSecond: plan.ratePerSecond === null ? null : integer(plan.ratePerSecond),
    survey: {
      orders: integer(survey.orders),
      unknown: integer(survey.unknown),
      changing: survey.changing === null ? null : integer(survey.changing),
      skipped: integer(survey.skipped),
      first: parseOrder(survey.first),
      last: parseOrder(survey.last),
    },
  };
}

export function parsePass(json: unknown): PlannedPass {
  const { source, range } = object(json);
  return {
    source: text(source) as SourceKind,
    range:
      range === null
        ? null
        : { fromLsn: parseLsn(text(object(range).fromLsn)), toLsn: parseLsn(text(object(range).toLsn)) },
  };
}

function parseOrder(json: unknown): SurveyedOrder | null {
  if (json === null) return null;
  const { position, committedAt } = object(json);
  return { position: text(position), committedAt: BigInt(text(committedAt)) };
}

export function object(json: unknown): Record<string, unknown> {
  if (typeof json !== 'object' || json === null) throw new Error(`expected an object, found ${typeof json}`);
  return json as Record<string, unknown>;
}

function text(json: unknown): string {
  if (typeof json !== 'string') throw new Error(`expected text, found ${typeof json}`);
  return json;
}

export function integer(json: unknown): number {
  if (!Number.isSafeInteger(json)) throw new Error(`expected an integer, found ${typeof json}`);
  return json as number;
}

function texts(json: unknown): string[] {
  if (!Array.isArray(json)) throw new Error(`expected a list, found ${typeof json}`);
  return json.map(text);
}
