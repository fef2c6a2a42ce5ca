// The window slot on the server: an SQL session of its own, since some of its statements read WAL for seconds or wait for
// other sessions' transactions, which the reader's own session must not. Guarantees: statements end by themselves after a
// minute; closing does not wait for one; the live slot is only read. Which step to take is window-policy.ts's.
import type { SQLQuery } from '@databases/pg';
import pg from 'pg';
import { formatLsn, type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { prepareSession, type SessionClient } from '#service/postgres/session.ts';
import { plainText } from '../postgres/plain-text.ts';
import { endSession } from '../postgres/raw-replication.ts';
import { readerSettings, readServerFacts } from '../postgres/sql/session.ts';
import {
  advanceWindowSlot,
  createWindowSlot,
  dropWindowSlot,
  logRestartPoint,
  readWindowFacts,
} from '../postgres/sql/slots.ts';
import type { WindowFacts } from './window-policy.ts';

export interface WindowSlotSession {
  /** `mayLogRestartPoint`: whether logRestartPoint() is granted to this role. */
  readFacts(): Promise<WindowFacts & { readonly mayLogRestartPoint: boolean }>;
  /** Waits for the transactions that run now, at most a minute. */
  create(): Promise<void>;
  drop(): Promise<void>;
  /** Reads the WAL from the slot's restart point to `toLsn`. */
  advance(toLsn: Lsn): Promise<void>;
  logRestartPoint(): Promise<void>;
  /** Within a second: a statement that is under way fails, and the server ends it by itself. */
  close(): Promise<void>;
}

/** Decoding takes about a second a gigabyte of WAL; the next attempt waits again for a transaction that runs longer. */
const STATEMENT_TIMEOUT_MS = 60_000;

/** Every call fails after the first failure: open another one. @throws errors of Postgres or the network */
export async function createWindowSlotSession(options: {
  postgres: DatabaseServer;
  applicationName: string;
  liveSlotName: string;
  windowSlotName: string;
}): Promise<WindowSlotSession> {
  const { liveSlotName, windowSlotName } = options;
  const client = new pg.Client({
    ...options.postgres,
    application_name: options.applicationName,
    connectionTimeoutMillis: 10_000,
    query_timeout: STATEMENT_TIMEOUT_MS + 1_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  client.on('error', () => undefined); // the next statement fails with it
  const query = async (statement: SQLQuery): Promise<Record<string, unknown>> =>
    (await client.query(plainText(statement))).rows[0] ?? {};

  await client.connect();
  await prepareSession(client as pg.Client & SessionClient, readerSettings(STATEMENT_TIMEOUT_MS));
  const serverVersion = (await query(readServerFacts)).server_version as number;
  return {
    async readFacts() {
      const row = await query(readWindowFacts(liveSlotName, windowSlotName));
      const lsn = (value: unknown): Lsn | null => (value === null ? null : parseLsn(value as string));
      return {
        flushLsn: parseLsn(row.flush_lsn as string),
        liveRestartLsn: lsn(row.live_restart_lsn),
        slot:
          row.plugin === null
            ? null
            : {
                restartLsn: lsn(row.restart_lsn),
                confirmedFlushLsn: lsn(row.confirmed_flush_lsn),
                isLost: row.is_lost === true,
                lostReason: row.lost_reason as string | null,
                isForeign: row.is_foreign === true,
              },
        mayLogRestartPoint: row.may_log_restart_point === true,
      };
    },
    create: async () => void (await query(createWindowSlot(windowSlotName, serverVersion))),
    drop: async () => void (await query(dropWindowSlot(windowSlotName))),
    advance: async (toLsn) => void (await query(advanceWindowSlot(windowSlotName, formatLsn(toLsn)))),
    logRestartPoint: async () => void (await query(logRestartPoint)),
    close: () => endSession(client),
  };
}
