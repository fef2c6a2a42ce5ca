// One ordinary SQL session beside the replication stream, for what the stream does not contain: slot, publication, end of the WAL,
// orders. It is also the first to learn of a shutdown: Postgres ends ordinary sessions at once, while a stream that is
// paused by backpressure hears nothing. After its end, and after close(), every call fails; see single-connection.ts.
import { setTimeout as delay } from 'node:timers/promises';
import type { TableName } from '#schemas/capture-fingerprint.ts';
import { type ContractTable, contractSchema } from '#schemas/contract-tables.ts';
import { type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { PreflightFacts, TableFacts } from '../startup/preflight.ts';
import { type Capture, createCaptureReader, readPublicationState } from './capture.ts';
import { type Query, type SessionOptions, SingleConnection, STATEMENT_TIMEOUT_MS } from './single-connection.ts';
import { readTableFacts, readTableNames } from './sql/capture.ts';
import { estimateOrders, readExistingOrders } from './sql/orders.ts';
import {
  KEEPALIVES,
  readCurrentWal,
  readerSettings,
  readServerFacts,
  readSnapshotText,
  tryAdvisoryLock,
} from './sql/session.ts';
import { describeLockHolder, endUnfinishedSlot, readSlotState, readTransactionHolders } from './sql/slots.ts';
import { isInProgress } from './visible-transaction.ts';

/** A logical slot as pg_replication_slots shows it; positions are null before the slot has any. */
export interface SlotState {
  readonly plugin: string;
  readonly database: string;
  readonly active: boolean;
  readonly activePid: number | null;
  readonly confirmedFlushLsn: Lsn | null;
  readonly restartLsn: Lsn | null;
  /** What the server has sent to the reader that streams from it; null while none does. */
  readonly sentLsn: Lsn | null;
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
interface CurrentWal {
  readonly flushLsn: Lsn;
  readonly timeline: number | null;
  readonly inRecovery: boolean;
}

/** A transaction that a server process waits for. `what`: its application_name, or the name it was prepared under. */
export interface TransactionHolder {
  /** null: it was prepared, and no session has it. */
  readonly pid: number | null;
  readonly what: string;
  readonly database: string | null;
  readonly state: string | null;
  readonly since: string | null;
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
  /** Resolves once queries see what a transaction of the stream has done, or after 5 s. `xid`: as its BEGIN has it. */
  awaitVisible(xid: number): Promise<void>;
  /** About how many rows `orders` has; null if Postgres does not know. */
  estimateOrders(): Promise<number | null>;
  /** Which of these ids are in `orders`. */
  orderExists(orderIds: readonly string[]): Promise<Set<string>>;
  preflightFacts(names: { slotName: string; publicationName: string }): Promise<PreflightFacts>;
  /** Takes the lock of this name for as long as the session lasts; false when another session has it. */
  tryAdvisoryLock(key: string): Promise<boolean>;
  /** Who has that lock, in words: pid, application_name, address, since when, as far as this role may read it. */
  describeLockHolder(key: string): Promise<string>;
  /** Ends the creation of a slot that was left waiting at the server. Only for whoever holds the lock of the first start. */
  endUnfinishedSlot(slotName: string): Promise<void>;
  /** What the server process `pid` waits for, the longest running first. */
  readTransactionHolders(pid: number): Promise<TransactionHolder[]>;
  /** Within a second, whether the server hears of it or not. */
  close(): Promise<void>;
}

/** It takes microseconds, unless the transaction waits for a synchronous standby, which may be for ever. */
const VISIBLE_LIMIT_MS = 5_000;
const VISIBLE_POLL_MS = 5;

/** Connects. @throws errors of Postgres or the network */
export async function createSourceSession(options: SessionOptions): Promise<SourceSession> {
  const connection = new SingleConnection(options);
  const { query } = connection;
  try {
    await connection.prepare({ ...readerSettings(STATEMENT_TIMEOUT_MS), ...KEEPALIVES });
    const [server] = await query(readServerFacts);
    connection.isOpen = true;
    return new SqlSourceSession(connection, server!.server_version as number, server!.role_name as string);
  } catch (error) {
    await connection.dispose();
    throw error;
  }
}

class SqlSourceSession implements SourceSession {
  readonly roleName: string;
  readonly readCapture: (publicationName: string) => Promise<Capture>;
  readonly #connection: SingleConnection;
  readonly #query: Query;
  readonly #serverVersion: number;

  constructor(connection: SingleConnection, serverVersion: number, roleName: string) {
    this.#connection = connection;
    this.#query = connection.query;
    this.#serverVersion = serverVersion;
    this.roleName = roleName;
    this.readCapture = createCaptureReader(this.#query, serverVersion);
  }

  async readSlot(slotName: string): Promise<SlotState | null> {
    const [row] = await this.#query(readSlotState(slotName));
    return row === undefined ? null : parseSlotState(row);
  }

  async readTableNames(oids: readonly number[]): Promise<ReadonlyMap<number, TableName>> {
    const rows = await this.#query(readTableNames(oids));
    return new Map(
      rows.map(({ oid, schema, name, kind }) => [
        Number(oid),
        { schema: schema as string, name: name as string, kind: kind as string },
      ]),
    );
  }

  async readCurrentWal(): Promise<CurrentWal> {
    const [row] = await this.#query(readCurrentWal);
    return {
      flushLsn: parseLsn(row!.flush_lsn as string),
      timeline: row!.timeline === null ? null : Number(row!.timeline),
      inRecovery: row!.in_recovery as boolean,
    };
  }

  async awaitVisible(xid: number): Promise<void> {
    const untilMs = performance.now() + VISIBLE_LIMIT_MS;
    while (performance.now() < untilMs) {
      const [row] = await this.#query(readSnapshotText);
      if (!isInProgress(row!.snapshot as string, xid)) return;
      await delay(VISIBLE_POLL_MS);
    }
  }

  async estimateOrders(): Promise<number | null> {
    const [row] = await this.#query(estimateOrders);
    const estimate = Number(row!.reltuples);
    return estimate > 0 ? estimate : null;
  }

  async orderExists(orderIds: readonly string[]): Promise<Set<string>> {
    if (orderIds.length === 0) return new Set();
    const rows = await this.#query(readExistingOrders(orderIds));
    return new Set(rows.map((row) => row.order_id as string));
  }

  async preflightFacts(names: { slotName: string; publicationName: string }): Promise<PreflightFacts> {
    const [server] = await this.#query(readServerFacts);
    return {
      serverVersion: this.#serverVersion,
      serverVersionName: server!.server_version_name as string,
      walLevel: server!.wal_level as string,
      inRecovery: server!.in_recovery as boolean,
      roleName: this.roleName,
      mayReplicate: server!.may_replicate as boolean,
      mayReadAllStats: server!.may_read_all_stats as boolean,
      mayLogRestartPoints: server!.may_log_restart_points as boolean,
      slotExists: (await this.readSlot(names.slotName)) !== null,
      slots: { used: server!.slots_used as number, allowed: server!.slots_allowed as number },
      walSenders: { used: server!.wal_senders_used as number, allowed: server!.wal_senders_allowed as number },
      synchronousStandbyNames: server!.synchronous_standby_names as string,
      encoding: { name: server!.encoding as string, convertsToUtf8: server!.converts_to_utf8 as boolean },
      publication: await readPublicationState(this.#query, names.publicationName),
      capture: await this.readCapture(names.publicationName),
      tables: { orders: await this.#readTable('orders'), order_items: await this.#readTable('order_items') },
    };
  }

  async #readTable(table: ContractTable): Promise<TableFacts | null> {
    const rows = await this.#query(readTableFacts(contractSchema, table));
    if (rows.length === 0) return null;
    return { columns: rows.map((row) => ({ name: row.name as string, type: row.type as string })) };
  }

  async tryAdvisoryLock(key: string): Promise<boolean> {
    const [row] = await this.#query(tryAdvisoryLock(key));
    return row!.is_taken as boolean;
  }

  async describeLockHolder(key: string): Promise<string> {
    const [row] = await this.#query(describeLockHolder(key));
    return Object.values(row ?? {})
      .filter((word) => word !== null)
      .join(', ');
  }

  async endUnfinishedSlot(slotName: string): Promise<void> {
    await this.#query(endUnfinishedSlot(slotName));
  }

  async readTransactionHolders(pid: number): Promise<TransactionHolder[]> {
    return (await this.#query(readTransactionHolders(pid))) as unknown as TransactionHolder[];
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

function parseSlotState(row: Record<string, unknown>): SlotState {
  const parseNullable = (text: unknown): Lsn | null => (text === null ? null : parseLsn(text as string));
  return {
    // Null for a physical slot.
    plugin: (row.plugin as string | null) ?? 'none, physically',
    database: (row.database as string | null) ?? 'none',
    active: row.active as boolean,
    activePid: row.active_pid as number | null,
    confirmedFlushLsn: parseNullable(row.confirmed_flush_lsn),
    restartLsn: parseNullable(row.restart_lsn),
    sentLsn: parseNullable(row.sent_lsn),
    walStatus: row.wal_status as string | null,
    invalidationReason: row.invalidation_reason as string | null,
    temporary: row.temporary as boolean,
    failover: row.failover as boolean,
    synced: row.synced as boolean,
    retainedBytes: row.retained_bytes as bigint | null,
  };
}
