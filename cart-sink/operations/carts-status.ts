/**
 * What the carts database knows of the pipeline, in one document (schemas/carts-status.ts), over a connection of its own.
 *
 * Guarantees: a read ends within half a second, and however many ask, one read runs at a time and its result serves a second: the
 * consumer and shoppers never wait for a console. A database without verdicts, or a role that may not read them, is answered
 * with none. Leaves to the routes: what is answered while the database is away.
 */
import {
  type AuditVerdict,
  auditVerdict,
  type CartsStatus,
  type ReplayVerdict,
  replayVerdict,
} from '#schemas/carts-status.ts';
import { parseLsn } from '#schemas/lsn.ts';
import { formatPosition } from '#schemas/position.ts';
import type { Database } from '#service/database.ts';
import { withDeadline } from '#service/deadline.ts';
import type { Logger } from '#service/logger.ts';
import { type PartitionStateRow, readPartitionStates } from '../sql/consumer-offsets.ts';
import { countPendingParked, type PendingParkedRow, readPendingParked } from '../sql/parked-events.ts';
import { type ReplayRunRow, readReplayRuns } from '../sql/replay-runs.ts';
import { readVerdicts, type VerdictRow } from '../sql/verdicts.ts';
import { formatParked } from './parked.ts';
import { formatHaltCommand, formatRunCommand } from './repair-commands.ts';

/** Logged once: the verdicts of audit and replay can't be read. */
const VERDICTS_UNREADABLE = 'sink.verdicts-unreadable';

/** Half of what the console gives a sink: while the database is away, /metrics must arrive all the same. */
const STATUS_DEADLINE_MS = 500;
/** How long a result serves those that ask next. */
const FRESH_MS = 1_000;
const NEWEST = 20;

const UNDEFINED_TABLE = '42P01';
const INSUFFICIENT_PRIVILEGE = '42501';

export interface CartsStatusOptions {
  /** Of its own, with one connection: its statements must wait for nobody else's. */
  readonly database: Pick<Database, 'pool'>;
  readonly consumerGroup: string;
  readonly topics: readonly string[];
  readonly logger: Logger;
  /** {@link STATUS_DEADLINE_MS} by default. */
  readonly deadlineMs?: number;
  readonly nowMs?: () => number;
}

/** The carts database did not answer in time. */
export class StatusLateError extends Error {
  readonly code = 'STATUS_LATE';
  override readonly name = 'StatusLateError';

  constructor(deadlineMs = STATUS_DEADLINE_MS) {
    super(`The carts database did not answer within ${deadlineMs} ms.`);
  }
}

/** Reads it. @throws StatusLateError, or the database's error */
export function createCartsStatus(options: CartsStatusOptions): () => Promise<CartsStatus> {
  const { nowMs = () => performance.now(), deadlineMs = STATUS_DEADLINE_MS } = options;
  const readVerdictsOnce = createVerdictReader(options);
  let last: { readonly status: Promise<CartsStatus>; readonly atMs: number } | undefined;
  return () => {
    if (last !== undefined && nowMs() - last.atMs < FRESH_MS) return last.status;
    const status = withDeadline(
      readStatus(options, readVerdictsOnce),
      deadlineMs,
      () => new StatusLateError(deadlineMs),
    );
    last = { status, atMs: nowMs() };
    return status;
  };
}

async function readStatus(
  { database: { pool }, consumerGroup, topics }: CartsStatusOptions,
  readKept: () => Promise<Pick<CartsStatus, 'lastAudit' | 'lastReplay'>>,
): Promise<CartsStatus> {
  const states: PartitionStateRow[] = await pool.query(readPartitionStates(consumerGroup, topics));
  const [{ parked: count }]: [{ parked: number }] = (await pool.query(countPendingParked)) as never;
  const pending: PendingParkedRow[] = count === 0 ? [] : await pool.query(readPendingParked(NEWEST));
  const runs: ReplayRunRow[] = await pool.query(readReplayRuns(consumerGroup, NEWEST));
  return {
    partitions: states.map(formatPartition),
    haltedPartitions: states.flatMap(formatHalted),
    parked: { count, newest: pending.map(formatParked) },
    replayRuns: runs.map(formatRun),
    ...(await readKept()),
  };
}

function createVerdictReader({ database: { pool }, logger }: CartsStatusOptions) {
  let isKnown = false;
  return async (): Promise<Pick<CartsStatus, 'lastAudit' | 'lastReplay'>> => {
    try {
      const rows: VerdictRow[] = await pool.query(readVerdicts);
      return { lastAudit: findVerdict(rows, 'audit'), lastReplay: findVerdict(rows, 'replay') };
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code !== UNDEFINED_TABLE && code !== INSUFFICIENT_PRIVILEGE) throw error;
      const message =
        'The verdicts of audit and replay can not be read: run npm run migrate and ops/postgres/roles.sql.';
      if (!isKnown) logger.warn({ event: VERDICTS_UNREADABLE, err: error }, message);
      isKnown = true;
      return { lastAudit: null, lastReplay: null };
    }
  };
}

function findVerdict(rows: readonly VerdictRow[], kind: 'audit'): AuditVerdict | null;
function findVerdict(rows: readonly VerdictRow[], kind: 'replay'): ReplayVerdict | null;
function findVerdict(rows: readonly VerdictRow[], kind: 'audit' | 'replay'): AuditVerdict | ReplayVerdict | null {
  const row = rows.find((one) => one.kind === kind);
  const schema = kind === 'audit' ? auditVerdict : replayVerdict;
  // A later version may keep something else: no verdict is better than no status.
  const parsed = row && schema.safeParse({ ...row.verdict, at: row.at.toISOString() });
  return parsed?.data ?? null;
}

function formatPartition(row: PartitionStateRow): CartsStatus['partitions'][number] {
  const { topic, partition, next_offset, owner_epoch, timeline, commit_lsn, ordinal, updated_at } = row;
  const isPlaced = timeline !== null && commit_lsn !== null && ordinal !== null;
  return {
    topic,
    partition,
    nextOffset: String(next_offset),
    ownerEpoch: String(owner_epoch),
    position: isPlaced ? formatPosition({ timeline, commitLsn: parseLsn(commit_lsn), ordinal }) : null,
    updatedAt: updated_at.toISOString(),
  };
}

function formatHalted(row: PartitionStateRow): CartsStatus['haltedPartitions'] {
  const { topic, partition, next_offset, halted_code: code, halted_message, halted_at } = row;
  if (code === null) return [];
  return [
    {
      code,
      topic,
      partition,
      offset: String(next_offset),
      since: (halted_at ?? row.updated_at).toISOString(),
      message: halted_message ?? '',
      command: formatHaltCommand(code, row, next_offset),
    },
  ];
}

function formatRun({ run_id, state, created_at, ...tally }: ReplayRunRow): CartsStatus['replayRuns'][number] {
  return {
    run: run_id,
    state,
    startedAt: created_at.toISOString(),
    ...tally,
    command: formatRunCommand(run_id, state),
  };
}
