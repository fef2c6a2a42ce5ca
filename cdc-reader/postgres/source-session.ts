// One ordinary SQL session beside the replication stream, for what the stream can't tell: slot, publication, log end,
// orders. It is also the first to learn of a shutdown: Postgres ends ordinary sessions at once, while a stream that is
// paused by backpressure hears nothing. Guarantees: one connection, never silently another (an advisory lock would be
// gone); its end is told once. After that, and after close(), every call fails.

import { setTimeout as delay } from 'node:timers/promises';
import databases, { type SQLQuery } from '@databases/pg';
import type { TableName } from '#schemas/capture-fingerprint.ts';
import { type ContractTable, contractSchema } from '#schemas/contract-tables.ts';
import { type Lsn, parseLsn } from '#schemas/lsn.ts';
import { preparePooledSession } from '#service/database.ts';
import type { Logger } from '#service/logger.ts';
import { parseDatabaseUrl } from '#service/postgres/database-url.ts';
import type { PreflightFacts, TableFacts } from '../startup/preflight.ts';
import { type Capture, createCaptureReader, readPublicationState } from './capture.ts';
import { END_LIMIT_MS } from './end-session.ts';
import { readTableFacts, readTableNames } from './sql/capture.ts';
import { readExistingOrders } from './sql/orders.ts';
import { KEEPALIVES, readCurrentWal, readerSettings, readServerFacts, tryAdvisoryLock } from './sql/session.ts';
import { readSlotState } from './sql/slots.ts';

/** A logical slot as pg_replication_slots shows it; positions are null before the slot has any. */
export interface SlotState {
  readonly plugin: string;
  readonly database: string;
  readonly active: boolean;
  readonly activePid: number | null;
  readonly confirmedFlushLsn: Lsn | null;
  readonly restartLsn: Lsn | null;
  /** `reserved`, `extended`, `unreserved` or `lost`; null before the slot reserves anything. */
  readonly walStatus: string | null;
  /** Why the slot is of no use any more; null while it is, and before Postgres 16 except by `walStatus`. */
  readonly invalidationReason: string | null;
  readonly temporary: boolean;
  readonly failover: boolean;
  readonly synced: boolean;
  readonly retainedBytes: bigint | null;
}

/** `timeline` is null on a standby. */
export interface CurrentWal {
  readonly flushLsn: Lsn;
  readonly timeline: number | null;
  readonly inRecovery: boolean;
}

export interface SourceSession {
  /** The role that this session runs as. */
  readonly roleName: string;
  readSlot(slotName: string): Promise<SlotState | null>;
  /** Who the captured tables are now, and what this role may read of them; takes no lock on them. */
  readCapture(publicationName: string): Promise<Capture>;
  /** What these tables are called now; one that does not exist has no entry. */
  readTableNames(oids: readonly number[]): Promise<ReadonlyMap<number, TableName>>;
  readCurrentWal(): Promise<CurrentWal>;
  /** Which of these ids are in `orders`. */
  orderExists(orderIds: readonly string[]): Promise<Set<string>>;
  preflightFacts(names: { slotName: string; publicationName: string }): Promise<PreflightFacts>;
  /** Takes the lock of this name for as long as the session lasts; false when another session has it. */
  tryAdvisoryLock(key: string): Promise<boolean>;
  /** Within a second, whether the server hears of it or not. */
  close(): Promise<void>;
}

/** The session has ended: its database was shut down or restarted, the connection broke, or close() was called. */
export class SessionEndedError extends Error {
  readonly code = 'SESSION_ENDED';

  constructor(options?: ErrorOptions) {
    super('The SQL session to the orders database has ended; open another one.', options);
    this.name = 'SessionEndedError';
  }
}

/** A statement of this session that takes longer has met something that a restart deals with better. */
const STATEMENT_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 10_000;

/** Connects. `onEnd` is told once, as soon as the session ends in any way but close(). */
export async function createSourceSession(options: {
  databaseUrl: string;
  applicationName: string;
  logger: Logger;
  onEnd: (error: Error) => void;
}): Promise<SourceSession> {
  let end: { readonly cause: unknown } | undefined;
  let isOpen = false;
  let lastError: unknown;

  const finish = (cause: unknown): void => {
    if (end !== undefined) return;
    end = { cause };
    if (isOpen) options.onEnd(cause instanceof Error ? cause : new SessionEndedError({ cause }));
  };

  const connection = parseDatabaseUrl(options.databaseUrl);
  const pool = databases.default({
    ...connection,
    applicationName: options.applicationName,
    bigIntMode: 'bigint',
    poolSize: 1,
    idleTimeoutMilliseconds: 0, // kept for ever: it is the session
    connectionTimeoutMilliseconds: CONNECT_TIMEOUT_MS,
    queryTimeoutMilliseconds: STATEMENT_TIMEOUT_MS + 1_000,
    keepAlive: true,
    keepAliveInitialDelayMilliseconds: 10_000,
    // While idle, an error is the end; after a failed statement the pool drops the connection and tells of that only.
    onError: finish,
    onConnectionClosed: () => finish(lastError),
  });

  const query = async (statement: SQLQuery): Promise<Record<string, unknown>[]> => {
    if (end !== undefined) throw new SessionEndedError({ cause: end.cause });
    try {
      return await pool.query(statement);
    } catch (error) {
      lastError = error;
      throw error;
    }
  };

  let serverVersion: number;
  let roleName: string;
  try {
    await preparePooledSession(pool, { ...readerSettings(STATEMENT_TIMEOUT_MS), ...KEEPALIVES }, connection);
    const [server] = await query(readServerFacts);
    serverVersion = server!.server_version as number;
    roleName = server!.role_name as string;
  } catch (error) {
    await pool.dispose();
    throw error;
  }
  isOpen = true;

  const readTable = async (table: ContractTable): Promise<TableFacts | null> => {
    const rows = await query(readTableFacts(contractSchema, table));
    if (rows.length === 0) return null;
    return { columns: rows.map((row) => ({ name: row.name as string, type: row.type as string })) };
  };

  const session: SourceSession = {
    roleName,
    async readSlot(slotName) {
      const [row] = await query(readSlotState(slotName));
      return row === undefined ? null : parseSlotState(row);
    },
    readCapture: createCaptureReader(query, serverVersion),
    async readTableNames(oids) {
      const rows = await query(readTableNames(oids));
      return new Map(
        rows.map(({ oid, schema, name, kind }) => [
          Number(oid),
          { schema: schema as string, name: name as string, kind: kind as string },
        ]),
      );
    },
    async readCurrentWal() {
      const [row] = await query(readCurrentWal);
      return {
        flushLsn: parseLsn(row!.flush_lsn as string),
        timeline: row!.timeline === null ? null : Number(row!.timeline),
        inRecovery: row!.in_recovery as boolean,
      };
    },
    async orderExists(orderIds) {
      if (orderIds.length === 0) return new Set();
      const rows = await query(readExistingOrders(orderIds));
      return new Set(rows.map((row) => row.order_id as string));
    },
    async preflightFacts({ slotName, publicationName }) {
      const [server] = await query(readServerFacts);
      return {
        serverVersion,
        serverVersionName: server!.server_version_name as string,
        walLevel: server!.wal_level as string,
        inRecovery: server!.in_recovery as boolean,
        roleName,
        mayReplicate: server!.may_replicate as boolean,
        slotExists: (await session.readSlot(slotName)) !== null,
        slots: { used: server!.slots_used as number, allowed: server!.slots_allowed as number },
        walSenders: { used: server!.wal_senders_used as number, allowed: server!.wal_senders_allowed as number },
        synchronousStandbyNames: server!.synchronous_standby_names as string,
        publication: await readPublicationState(query, publicationName),
        capture: await session.readCapture(publicationName),
        tables: { orders: await readTable('orders'), order_items: await readTable('order_items') },
      };
    },
    async tryAdvisoryLock(key) {
      const [row] = await query(tryAdvisoryLock(key));
      return row!.is_taken as boolean;
    },
    async close() {
      end ??= { cause: 'close() was called' };
      // With a statement under way the pool waits for its time limit, and then for the end of the connection; a server
      // that is silent does not hear of either.
      const limit = new AbortController();
      const late = delay(END_LIMIT_MS, undefined, { signal: limit.signal }).catch(() => undefined); // ended in time
      await Promise.race([pool.dispose(), late]);
      limit.abort();
    },
  };
  return session;
}

function parseSlotState(row: Record<string, unknown>): SlotState {
  const parseNullable = (text: unknown): Lsn | null => (text === null ? null : parseLsn(text as string));
  return {
    plugin: row.plugin as string,
    database: row.database as string,
    active: row.active as boolean,
    activePid: row.active_pid as number | null,
    confirmedFlushLsn: parseNullable(row.confirmed_flush_lsn),
    restartLsn: parseNullable(row.restart_lsn),
    walStatus: row.wal_status as string | null,
    invalidationReason: row.invalidation_reason as string | null,
    temporary: row.temporary as boolean,
    failover: row.failover as boolean,
    synced: row.synced as boolean,
    retainedBytes: row.retained_bytes as bigint | null,
  };
}
