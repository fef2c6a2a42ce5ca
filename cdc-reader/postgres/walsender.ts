// The commands to a walsender before the stream starts: the session's settings, IDENTIFY_SYSTEM, and START_REPLICATION.
// Guarantees: values come as text in one canonical form (ISO dates, UTC, UTF-8); names are quoted; identity and history
// are those of the very server that will stream; a refused slot is an error of its own for each kind of refusal.
import type pg from 'pg';
import { LSN_ZERO, type Lsn, parseLsn } from '#schemas/lsn.ts';
import { parseTimelineHistory, type TimelineSwitch } from '#schemas/timeline.ts';
import type { DatabaseServer } from '#service/postgres/database-server.ts';
import { prepareSession, type SessionClient } from '#service/postgres/session.ts';
import { plainText, quoteIdentifier } from './plain-text.ts';
import { SlotLostError } from './slots/slot-lost.ts';
import { readCurrentWal, readerSettings } from './sql/session.ts';
import { copySlot, describeBackend, readSlotState } from './sql/slots.ts';
import { SlotBusyError, SlotCopyError, SlotMissingError } from './stream-errors.ts';

/** Who streams: `flushLsn` is the end of its flushed WAL, `history` the ancestors of `timeline`, oldest first. */
export interface SourceIdentity {
  readonly systemIdentifier: string;
  readonly database: string;
  readonly timeline: number;
  readonly flushLsn: Lsn;
  readonly history: readonly TimelineSwitch[];
  /** As `server_version_num`: 180004. */
  readonly serverVersion: number;
}

const OBJECT_IN_USE = '55006';
const NOT_IN_PREREQUISITE_STATE = '55000';
const UNDEFINED_OBJECT = '42704';

export interface WalSenderOptions {
  readonly postgres: DatabaseServer;
  /** As pg_stat_replication shows it. */
  readonly applicationName: string;
}

/** A connection that speaks the replication protocol and returns every value as the text that came. */
export function walSenderConfig({
  postgres,
  applicationName,
}: WalSenderOptions): pg.ClientConfig & { replication: 'database' } {
  return {
    replication: 'database',
    ...postgres,
    application_name: applicationName,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types: { getTypeParser: () => (value: string) => value } as pg.CustomTypesConfig,
  };
}

/**
 * Makes a new connection ready to stream: its settings, the temporary copy of `copyOf` where one is wanted, and who the
 * server is. @throws SlotCopyError, or an error of Postgres or the network
 */
export async function prepareWalSender(
  client: pg.ClientBase,
  options: { readonly walSenderTimeoutMs: number; readonly slotName: string; readonly copyOf?: string },
): Promise<SourceIdentity> {
  const { walSenderTimeoutMs, slotName, copyOf } = options;
  await pinWalSender(client);
  await client.query(`SET wal_sender_timeout = ${Math.trunc(walSenderTimeoutMs)}`);
  if (copyOf !== undefined) await copyFrom(client, copyOf, slotName);
  return readSourceIdentity(client);
}

async function copyFrom(client: pg.ClientBase, copyOf: string, slotName: string): Promise<void> {
  try {
    await client.query(plainText(copySlot(copyOf, slotName)));
  } catch (error) {
    const reason = await explainSlotError(client, copyOf, error);
    if (reason instanceof SlotMissingError) throw new SlotCopyError('missing', copyOf, { cause: error });
    if (reason instanceof SlotLostError) throw new SlotCopyError('lost', copyOf, { cause: error });
    throw error;
  }
}

/** Values have one text form, and no limit of the role's ends a stream or a snapshot that is being read. */
export async function pinWalSender(client: pg.ClientBase): Promise<void> {
  await prepareSession(client as pg.Client & SessionClient, readerSettings(0));
}

/** Reads IDENTIFY_SYSTEM and the timeline's history on `client`, a walsender connection that does not stream yet. */
export async function readSourceIdentity(client: pg.ClientBase): Promise<SourceIdentity> {
  const system = await readRow(client, 'IDENTIFY_SYSTEM');
  const timeline = Number(system.timeline);
  // Timeline 1 has no history file: the command would fail.
  const history = timeline === 1 ? '' : (await readRow(client, `TIMELINE_HISTORY ${timeline}`)).content!;
  const version = await readRow(client, 'SHOW server_version_num');
  return {
    systemIdentifier: system.systemid!,
    database: system.dbname!,
    timeline,
    flushLsn: parseLsn(system.xlogpos!),
    history: parseTimelineHistory(history),
    serverVersion: Number(version.server_version_num),
  };
}

/** START_REPLICATION from confirmed_flush_lsn: 0/0 leaves the position to the server. */
export function formatStartReplication(slotName: string, publicationName: string): string {
  // pgoutput splits the list of publications as identifiers, so the name is quoted twice: as one, and as a string.
  const publications = quoteLiteral(quoteIdentifier(publicationName));
  return (
    `START_REPLICATION SLOT ${quoteSlotName(slotName)} LOGICAL 0/0 ` +
    `(proto_version '1', publication_names ${publications})`
  );
}

/**
 * Turns the refusal of a slot into its own error, by SQLSTATE and by the slot's state on the same server;
 * Postgres's messages may be in any language. Other errors are returned as they are.
 */
export async function explainSlotError(client: pg.ClientBase, slotName: string, error: unknown): Promise<unknown> {
  const code = (error as { code?: unknown }).code;
  if (code === UNDEFINED_OBJECT) return new SlotMissingError(slotName, { cause: error });
  if (code !== OBJECT_IN_USE && code !== NOT_IN_PREREQUISITE_STATE) return error;
  const { rows } = await client.query(plainText(readSlotState(slotName)));
  const slot: Record<string, string | null> | undefined = rows[0];
  if (code === OBJECT_IN_USE) {
    const pid = slot?.active_pid;
    if (typeof pid !== 'string') return new SlotBusyError(slotName, undefined, '', { cause: error });
    const holder: Record<string, string> = (await client.query(plainText(describeBackend(pid)))).rows[0] ?? {};
    return new SlotBusyError(slotName, Number(pid), Object.values(holder).filter(Boolean).join(', '), { cause: error });
  }
  if (slot?.wal_status !== 'lost' && slot?.invalidation_reason == null) return error;
  const wal: Record<string, string> = (await client.query(plainText(readCurrentWal))).rows[0];
  const acknowledged = slot.confirmed_flush_lsn == null ? LSN_ZERO : parseLsn(slot.confirmed_flush_lsn);
  const found = {
    reason: slot.invalidation_reason ?? null,
    throughLsn: acknowledged,
    flushLsn: parseLsn(wal.flush_lsn!),
  };
  return new SlotLostError(slotName, { ...found, what: 'acknowledged' }, { cause: error });
}

/**
 * A slot's name for a replication command, whose grammar can't escape a quote within an identifier.
 * @throws RangeError when no slot can have this name.
 */
export function quoteSlotName(slotName: string): string {
  if (!/^[a-z0-9_]{1,63}$/.test(slotName)) {
    throw new RangeError(
      `${JSON.stringify(slotName)} is not a valid name of a replication slot: 1 to 63 lower-case letters, digits and underscores.`,
    );
  }
  return `"${slotName}"`;
}

function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

async function readRow(client: pg.ClientBase, command: string): Promise<Record<string, string>> {
  const row: Record<string, string> | undefined = (await client.query(command)).rows[0];
  if (row === undefined) throw new Error(`Postgres returned no row for ${command}.`);
  return row;
}
