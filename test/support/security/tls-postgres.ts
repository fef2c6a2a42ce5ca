// A Postgres with TLS whose certificate, and whether it has any, changes while it runs, and that asks each user for what the
// test wants. Guarantees: its log tells how each connection came (`arrivals`). Who signs is left to the test.
import { chmodSync, chownSync, copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { waitFor } from '../wait.ts';
import type { Certificate } from './authority.ts';

export interface TlsPostgres {
  readonly postgres: LocalPostgres;
  /** Presents this certificate from now on; undefined: no TLS. */
  present(certificate: Certificate | undefined): Promise<void>;
  /** As superuser, past TLS. */
  query(text: string): Promise<Record<string, unknown>[]>;
  /** How the connections of each of these users came that were let in since the last call. */
  arrivals(users: readonly string[]): ReadonlyMap<string, readonly ('tls' | 'plain')[]>;
  close(): Promise<void>;
}

/** `rules` are lines of pg_hba.conf before the superuser's; `clientCa` is the authority of clients' certificates. */
export async function createTlsPostgres(options: {
  directory: string;
  certificate: Certificate;
  clientCa: string;
  rules: readonly string[];
}): Promise<TlsPostgres> {
  const postgres = await createLocalPostgres({ directory: options.directory, settings: { log_connections: 'on' } });
  await postgres.start();
  const { dataDirectory } = postgres;
  const { uid, gid } = statSync(dataDirectory);
  const put = (from: string, name: string): void => {
    const to = join(dataDirectory, name);
    copyFileSync(from, to);
    chownSync(to, uid, gid);
    chmodSync(to, 0o600);
  };
  put(options.clientCa, 'clients.crt');
  const superuser = ['host all postgres 127.0.0.1/32 trust', 'host replication postgres 127.0.0.1/32 trust'];
  writeFileSync(join(dataDirectory, 'pg_hba.conf'), `${[...superuser, ...options.rules].join('\n')}\n`);
  const query = async (text: string): Promise<Record<string, unknown>[]> => {
    const client = new pg.Client({
      host: '127.0.0.1',
      port: postgres.port,
      user: 'postgres',
      database: 'postgres',
      ssl: false,
    });
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  };
  const present = async (certificate: Certificate | undefined): Promise<void> => {
    if (certificate !== undefined) {
      put(certificate.certificate, 'server.crt');
      put(certificate.key, 'server.key');
    }
    const before = (await query('SELECT pg_conf_load_time()::text AS loaded'))[0]!.loaded;
    await query(`ALTER SYSTEM SET ssl = ${certificate === undefined ? 'off' : 'on'}`);
    await query(`ALTER SYSTEM SET ssl_ca_file = 'clients.crt'`);
    await query('SELECT pg_reload_conf()');
    // Each backend loads by itself; one that is new has what the postmaster has loaded.
    await waitFor('the server to load its certificate', async () => {
      return String((await query('SELECT pg_conf_load_time()::text AS loaded'))[0]!.loaded) !== String(before);
    });
  };
  let read = 0;
  await present(options.certificate);
  return {
    postgres,
    present,
    query,
    arrivals(users) {
      const log = readFileSync(postgres.logFile, 'utf8');
      const lines = log.slice(read).split('\n');
      read = log.length;
      const of = (user: string) => lines.filter((line) => line.includes(`connection authorized: user=${user} `));
      return new Map(
        users.map((user) => [user, of(user).map((line) => (line.includes('SSL enabled') ? 'tls' : 'plain'))]),
      );
    },
    close: () => postgres.close(),
  };
}
