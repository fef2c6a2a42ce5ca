// A replication stream with everything that it hands over written down, and a source database of its own to stream from:
// one plain table in a publication, and a slot.

import pg from 'pg';
import { serverOf } from '#service/postgres/database-server.ts';
import type { PgoutputMessage } from '../../../cdc-reader/postgres/pgoutput.ts';
import {
  createReplicationStream,
  type ReplicationStream,
  type ReplicationStreamOptions,
} from '../../../cdc-reader/postgres/replication-stream.ts';
import type { Lsn } from '../../../schemas/lsn.ts';
import { parseLsn } from '../../../schemas/lsn.ts';
import { decodeTuple, insertOf, rowOf } from '../examples/decode-tuple.ts';
import { waitFor } from '../wait.ts';

type Message<Kind extends PgoutputMessage['kind']> = Extract<PgoutputMessage, { kind: Kind }>;

export type RecordedStream = {
  readonly stream: ReplicationStream;
  readonly messages: readonly PgoutputMessage[];
  readonly keepalives: readonly { walEnd: Lsn; replyRequested: boolean }[];
  /** What onFailure was told, every time. */
  readonly failures: readonly Error[];
  commits(): Message<'commit'>[];
  /** The second column of every row so far: the table's `value`. */
  values(): (string | null | undefined)[];
  waitForCommits(count: number): Promise<Message<'commit'>[]>;
  waitForFailure(deadlineMs?: number): Promise<Error>;
};

/** Opens a stream, resumed unless `paused`, that records; the hooks come after the recording. */
export async function recordStream(
  source: { url: string; slotName: string; publicationName: string },
  options: {
    paused?: boolean;
    walSenderTimeoutMs?: number;
    onMessage?: (message: PgoutputMessage, stream: ReplicationStream) => void;
    onKeepalive?: (keepalive: { walEnd: Lsn; replyRequested: boolean }, stream: ReplicationStream) => void;
  } & Partial<ReplicationStreamOptions> = {},
): Promise<RecordedStream> {
  const messages: PgoutputMessage[] = [];
  const keepalives: { walEnd: Lsn; replyRequested: boolean }[] = [];
  const failures: Error[] = [];
  const stream = await createReplicationStream({
    postgres: serverOf(source.url),
    slotName: source.slotName,
    publicationName: source.publicationName,
    applicationName: 'stream-test',
    walSenderTimeoutMs: options.walSenderTimeoutMs ?? 10_000,
    ...(options.copyOf === undefined ? {} : { copyOf: options.copyOf }),
    handlers: {
      onMessage: (message) => {
        messages.push(message.kind === 'insert' ? insertOf(message.relationOid, Buffer.from(rowOf(message))) : message);
        options.onMessage?.(message, stream);
      },
      onKeepalive: (keepalive) => {
        keepalives.push(keepalive);
        options.onKeepalive?.(keepalive, stream);
      },
      onFailure: (error) => failures.push(error),
    },
  });
  if (options.paused !== true) stream.resume();
  const commits = () => messages.filter((message) => message.kind === 'commit');
  return {
    stream,
    messages,
    keepalives,
    failures,
    commits,
    values: () => messages.filter((one) => one.kind === 'insert').map((row) => decodeTuple(rowOf(row), 2)[1]),
    async waitForCommits(count) {
      await waitFor(`${count} commits`, () => commits().length >= count, { deadlineMs: 30_000 });
      return commits();
    },
    waitForFailure: (deadlineMs = 10_000) => waitFor('the stream to fail', () => failures[0], { deadlineMs }),
  };
}

export type SourceDatabase = {
  readonly url: string;
  readonly slotName: string;
  readonly publicationName: string;
  /** The current connection; reconnect() replaces it. */
  readonly client: pg.Client;
  reconnect(): Promise<void>;
  close(): Promise<void>;
  /** Inserts one row and commits. */
  insert(value: string): Promise<void>;
  confirmedFlushLsn(): Promise<Lsn>;
};

/** Makes the table `facts (id, value)`, the publication and the slot in an empty database. Close it yourself. */
export async function createSourceDatabase(url: string, id: string): Promise<SourceDatabase> {
  const connect = async () => {
    const connected = new pg.Client({ connectionString: url });
    connected.on('error', () => undefined); // servers are stopped under it
    await connected.connect();
    return connected;
  };
  let client = await connect();
  const [slotName, publicationName] = [`slot_${id}`, `publication_${id}`];
  await client.query('CREATE TABLE facts (id bigserial PRIMARY KEY, value text)');
  await client.query(`CREATE PUBLICATION ${publicationName} FOR TABLE facts WITH (publish = 'insert')`);
  await client.query(`SELECT pg_create_logical_replication_slot('${slotName}', 'pgoutput')`);
  return {
    url,
    slotName,
    publicationName,
    get client() {
      return client;
    },
    async reconnect() {
      await client.end();
      client = await connect();
    },
    close: () => client.end(),
    insert: async (value) => void (await client.query('INSERT INTO facts (value) VALUES ($1)', [value])),
    async confirmedFlushLsn() {
      const text = 'SELECT confirmed_flush_lsn::text AS confirmed FROM pg_replication_slots WHERE slot_name = $1';
      const { rows } = await client.query<{ confirmed: string }>(text, [slotName]);
      return parseLsn(rows[0]!.confirmed);
    },
  };
}

/** Commits two transactions of one row each right behind one another: the second's commit record starts where the first's ended. */
export async function commitAdjacent(url: string, first: string, second: string): Promise<void> {
  const clients = [new pg.Client({ connectionString: url }), new pg.Client({ connectionString: url })] as const;
  await Promise.all(clients.map((client) => client.connect()));
  try {
    for (const [index, value] of [first, second].entries()) {
      await clients[index]!.query('BEGIN');
      await clients[index]!.query('INSERT INTO facts (value) VALUES ($1)', [value]);
    }
    for (const client of clients) await client.query('COMMIT');
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}
