// A Postgres of a test's own, since roles belong to a whole server, with what ops/postgres/roles.sql makes of it. Guarantees: a
// role is refused by name (SQLSTATE), not by a guess. Kafka is the run's.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { inject } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { createTestDirectory, removeTestDirectory } from '../process/test-directory.ts';
import type { TestServers } from '../stack/environment.ts';

const rolesFile = join(import.meta.dirname, '..', '..', '..', 'ops', 'postgres', 'roles.sql');

export type RoleName = 'migrator' | 'order_api' | 'reader' | 'cart_api' | 'cart_sink' | 'auditor';

export interface RoleServer {
  readonly postgres: LocalPostgres;
  readonly servers: TestServers;
  close(): Promise<void>;
}

export async function startRoleServer(label: string): Promise<RoleServer> {
  const directory = createTestDirectory(label);
  const postgres = await createLocalPostgres({
    directory: join(directory, 'postgres'),
    settings: { fsync: 'off', track_commit_timestamp: 'on' },
  });
  await postgres.start();
  const url = postgres.url('postgres');
  return {
    postgres,
    servers: { ...inject('servers'), orderServerUrl: url, cartServerUrl: url },
    async close() {
      await postgres.close();
      removeTestDirectory(directory);
    },
  };
}

/** Runs ops/postgres/roles.sql as the superuser of `databaseUrl`; returns its notices. */
export async function applyRoles(
  databaseUrl: string,
  publicationName: string,
  { keepPublication = false } = {},
): Promise<string[]> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    options: `-c tillstream.publication=${publicationName} -c tillstream.keep_publication=${keepPublication}`,
  });
  const notices: string[] = [];
  client.on('notice', ({ message }) => notices.push(message ?? ''));
  await client.connect();
  try {
    await client.query(readFileSync(rolesFile, 'utf8'));
    return notices;
  } finally {
    await client.end();
  }
}

/** The same database as another role. */
export function asRole(databaseUrl: string, role: string): string {
  const url = new URL(databaseUrl);
  url.username = role;
  return url.href;
}

/** The SQLSTATE that a role is refused `text` with, in a transaction that is rolled back; undefined: it may. */
export async function refusalOf(databaseUrl: string, role: string, text: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: asRole(databaseUrl, role) });
  await client.connect();
  try {
    await client.query(`BEGIN; ${text}; ROLLBACK`);
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  } finally {
    await client.end();
  }
}
