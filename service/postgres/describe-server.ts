/** What `--check-config` tells about a Postgres: version, role, TLS and what the role may do. Reads only. */
import pg from 'pg';
import type { Check } from '../command-line/check-config.ts';
import type { DatabaseServer } from './database-server.ts';

const CONNECT_TIMEOUT_MS = 5_000;

/** `tables`: those of the public schema whose privileges matter. */
export function checkPostgres(what: string, server: DatabaseServer, tables: readonly string[]): Check {
  return {
    what,
    find: async () => {
      const client = new pg.Client({
        ...server,
        application_name: 'tillstream-check-config',
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      });
      client.on('error', () => undefined); // the query rejects
      await client.connect();
      try {
        const { rows } = await client.query(
          `SELECT current_setting('server_version') AS version, current_setting('wal_level') AS wal_level,
                  current_user AS role, rolsuper AS super, rolreplication AS replication,
                  (SELECT coalesce(version || ' ' || cipher, 'none') FROM pg_catalog.pg_stat_ssl
                   WHERE pid = pg_catalog.pg_backend_pid()) AS tls
           FROM pg_catalog.pg_roles WHERE rolname = current_user`,
        );
        const privileges = await client.query(
          `SELECT name, CASE WHEN pg_catalog.to_regclass('public.' || name) IS NULL THEN 'missing' ELSE coalesce((
             SELECT string_agg(privilege, ', ') FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
             WHERE pg_catalog.has_table_privilege('public.' || name, privilege)), 'no privilege') END AS found
           FROM unnest($1::text[]) AS name`,
          [tables],
        );
        const { version, wal_level, role, super: isSuper, replication, tls } = rows[0];
        const can = [isSuper ? 'superuser' : '', replication ? 'REPLICATION' : ''].filter(Boolean).join(', ');
        return [
          ['server', `${server.host}:${server.port}/${server.database}`],
          ['version', `${version}, wal_level ${wal_level}`],
          ['TLS', tls],
          ['role', can === '' ? role : `${role} (${can})`],
          ...privileges.rows.map(({ name, found }) => [`table ${name}`, found] as const),
        ];
      } finally {
        await client.end();
      }
    },
  };
}
