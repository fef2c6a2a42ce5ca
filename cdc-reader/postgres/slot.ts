// Creates and drops the replication slot. Creating it exports a snapshot that sees exactly the transactions which the
// stream will not deliver: the orders of the initial snapshot. Guarantees: the snapshot stays as long as
// the returned object is open. Streaming from the slot is replication-stream.ts's business.
import pg from 'pg';
import { type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { explainConnectError } from '#service/postgres/session.ts';
import { endSession } from './raw-replication.ts';
import {
  explainSlotError,
  pinWalSender,
  quoteSlotName,
  readSourceIdentity,
  type SourceIdentity,
  walSenderConfig,
} from './walsender.ts';

/** `consistentPoint` is where the stream begins: what committed before it is in the snapshot and not in the stream. */
export interface NewSlot {
  readonly consistentPoint: Lsn;
  readonly snapshotName: string;
  /** Releases the snapshot; the slot stays. */
  close(): Promise<void>;
}

/** A slot of this name exists already. */
class SlotExistsError extends Error {
  readonly code = 'SLOT_EXISTS';

  constructor(slotName: string, options?: ErrorOptions) {
    super(
      `The replication slot ${slotName} exists already. If nobody reads from it, drop it: ` +
        `SELECT pg_drop_replication_slot('${slotName}').`,
      options,
    );
    this.name = 'SlotExistsError';
  }
}

const DUPLICATE_OBJECT = '42710';

/**
 * Creates a logical slot for pgoutput, waiting for the transactions that run now. On Postgres 17 and newer it is a
 * failover slot, which standbys may synchronise. @throws SlotExistsError
 */
export async function createSlot(options: {
  postgres: DatabaseServer;
  slotName: string;
  applicationName: string;
  /** As `server_version_num`. */
  serverVersion: number;
  /** Called with the pid of the server process that creates the slot, before it waits. */
  onStarted?: (pid: number) => void;
  /** Ends this end of the wait. The server process does not notice while it waits: see endUnfinishedSlot(). */
  signal?: AbortSignal;
}): Promise<NewSlot> {
  const client = await connect(options);
  const abandon = () => void endSession(client);
  try {
    options.signal?.throwIfAborted();
    options.signal?.addEventListener('abort', abandon);
    options.onStarted?.((client as unknown as { processID: number }).processID);
    const { rows } = await client.query(formatCreateSlot(options.slotName, options.serverVersion));
    return {
      consistentPoint: parseLsn(rows[0].consistent_point),
      snapshotName: rows[0].snapshot_name,
      close: () => endSession(client),
    };
  } catch (error) {
    await endSession(client);
    if ((error as { code?: unknown }).code !== DUPLICATE_OBJECT) throw error;
    throw new SlotExistsError(options.slotName, { cause: error });
  } finally {
    options.signal?.removeEventListener('abort', abandon);
  }
}

/** CREATE_REPLICATION_SLOT in the words of that server version: 15 brought the list of options, 17 failover. */
export function formatCreateSlot(slotName: string, serverVersion: number): string {
  const create = `CREATE_REPLICATION_SLOT ${quoteSlotName(slotName)} LOGICAL pgoutput`;
  if (serverVersion < 150_000) return `${create} EXPORT_SNAPSHOT`;
  return `${create} (SNAPSHOT 'export'${serverVersion < 170_000 ? '' : ', FAILOVER true'})`;
}

/** Drops the slot. @throws SlotMissingError, SlotBusyError */
export async function dropSlot(options: {
  postgres: DatabaseServer;
  slotName: string;
  applicationName: string;
}): Promise<void> {
  const client = await connect(options);
  try {
    await client.query(`DROP_REPLICATION_SLOT ${quoteSlotName(options.slotName)}`);
  } catch (error) {
    throw await explainSlotError(client, options.slotName, error);
  } finally {
    await endSession(client);
  }
}

async function connect(options: { postgres: DatabaseServer; applicationName: string }): Promise<pg.Client> {
  const client = new pg.Client(walSenderConfig(options));
  // A command in flight fails by itself. While idle the connection only holds the snapshot, and importing that
  // fails once it is gone; without a listener the process would end.
  client.on('error', () => undefined);
  await client.connect().catch((error) => {
    throw explainConnectError(error);
  });
  await pinWalSender(client);
  return client;
}

/** Who the server is, on a connection of its own: before the initial snapshot there is no stream. */
export async function readIdentity(options: {
  postgres: DatabaseServer;
  applicationName: string;
}): Promise<SourceIdentity> {
  const client = await connect(options);
  try {
    return await readSourceIdentity(client);
  } finally {
    await endSession(client);
  }
}
