/**
 * One Postgres server as everything connects to it: pool, SQL session, batch, stream, slot and migrations.
 *
 * Guarantees: TLS is what libpq's table of sslmode has for the URL, for every client alike and spelled out, never a
 * library's default; password and certificates are read again for each connection; where a library opened a connection
 * past encrypted-connection.ts, it would be verified and fail, not unverified. Leaves to encrypted-connection.ts: the order
 * in which TLS and plain text are tried.
 */
import { isIP } from 'node:net';
import { WaitingError } from '../failure.ts';
import { certificatesOf } from '../security/certificate-expiry.ts';
import { fixedSecret, type Secret } from '../security/secret.ts';
import { readTlsFiles, type TlsFile, type TlsFiles } from '../security/tls-files.ts';
import { type DatabaseUrl, parseDatabaseUrl, type SslMode } from './database-url.ts';
import { ENCRYPTION, type Encryption, installEncryptedConnections } from './encrypted-connection.ts';

/** As `pg` and the replication client take it; `poolOptions` gives it to `@databases/pg`. */
export interface DatabaseServer {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** That of now. */
  readonly password: () => string;
  readonly database: string;
  /** Not frozen: `pg` hides the key in it. */
  readonly ssl: false | ExplicitTls;
}

interface ExplicitTls {
  readonly rejectUnauthorized: boolean;
  readonly checkServerIdentity?: () => undefined;
  readonly [ENCRYPTION]: Encryption;
}

/** The URL of a file now leads elsewhere than at the start of this process. */
class DatabaseUrlChangedError extends WaitingError {
  readonly code = 'DATABASE_URL_CHANGED';
  override readonly name = 'DatabaseUrlChangedError';

  constructor(variable: string) {
    super(
      `${variable}: only the password may change while the process runs, and user, host, port, database or TLS of the URL ` +
        `have. Restart the process, or put the URL back`,
    );
  }
}

/** The variables beside the URL. */
export interface DatabaseTlsFiles {
  readonly ca?: TlsFile | undefined;
  readonly certificate?: TlsFile | undefined;
  readonly key?: TlsFile | undefined;
}

/** @throws Error whose message, behind the name of the URL's variable, says what to correct */
export function createDatabaseServer(url: Secret, variables: DatabaseTlsFiles = {}): DatabaseServer {
  const parsed = parseDatabaseUrl(url.read());
  const { host, port, user, database } = parsed;
  const readPassword = (): string => {
    const now = parseDatabaseUrl(url.read());
    if (JSON.stringify({ ...now, password: '' }) !== JSON.stringify({ ...parsed, password: '' })) {
      throw new DatabaseUrlChangedError(url.name);
    }
    return now.password;
  };
  installEncryptedConnections();
  return Object.freeze({ host, port, user, password: readPassword, database, ssl: chooseTls(url, parsed, variables) });
}

/** The server of a URL that no environment variable gave. */
export function serverOf(url: string): DatabaseServer {
  return createDatabaseServer(fixedSecret('the database URL', url));
}

/** `@databases/pg` passes the function on to `pg`, and only its types do not know it. */
export function poolOptions(server: DatabaseServer): Omit<DatabaseServer, 'password'> & { readonly password: string } {
  return { ...server, password: server.password as unknown as string };
}

/** Whether only processes of this machine can be at the other end. */
function isLocal(host: string): boolean {
  return (
    host.startsWith('/') || host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
  );
}

export function certificatesOfServer({ ssl }: DatabaseServer): readonly TlsFile[] {
  return ssl === false ? [] : ssl[ENCRYPTION].certificates;
}

/** What to warn of once: a server elsewhere, and nobody has decided about TLS. */
export function findTlsWarning(url: Secret): string | undefined {
  const { host, sslMode } = parseDatabaseUrl(url.read());
  if (sslMode !== undefined || isLocal(host)) return undefined;
  return (
    `${url.name} has no sslmode: TLS is used where the server offers it, without a check of who the server is. Write ` +
    `sslmode=verify-full behind the database, or sslmode=prefer if this is what you want.`
  );
}

function chooseTls(url: Secret, parsed: DatabaseUrl, variables: DatabaseTlsFiles): false | ExplicitTls {
  const files = findFiles(url.name, parsed, variables);
  const isSystem = files.ca === 'system';
  const mode: SslMode = parsed.sslMode ?? (isSystem ? 'verify-full' : 'prefer');
  if (isSystem && mode !== 'verify-full') {
    throw new Error(`sslrootcert=system needs sslmode=verify-full: anybody can get a certificate of such an authority`);
  }
  if (mode.startsWith('verify') && files.ca === undefined) {
    throw new Error(
      `sslmode=${mode} needs the authority that signs the server's certificate: set ${variablesOf(url.name).ca} or ` +
        `sslrootcert, or write sslmode=verify-full&sslrootcert=system for those that the operating system trusts`,
    );
  }
  readTlsFiles(files);
  if (mode === 'disable' || parsed.host.startsWith('/')) return false;
  // As in libpq, a given authority is checked in the weaker modes too: `require` then means `verify-ca`.
  const verifies = files.ca !== undefined;
  const checks = {
    rejectUnauthorized: verifies,
    ...(mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
  };
  const encryption: Encryption = {
    mode,
    tlsOptions: () => ({ ...checks, ...readTlsFiles(files) }),
    peer: { server: `Postgres at ${parsed.host}:${parsed.port}`, variables: variablesOf(url.name) },
    certificates: certificatesOf(files),
  };
  return { ...checks, [ENCRYPTION]: encryption };
}

function variablesOf(urlName: string): Encryption['peer']['variables'] {
  const prefix = /^(\w+)_URL(_FILE)?$/.exec(urlName)?.[1];
  if (prefix === undefined) return { address: urlName, ca: 'sslrootcert', certificate: 'sslcert' };
  return { address: urlName, ca: `${prefix}_SSL_CA_LOCATION`, certificate: `${prefix}_SSL_CERTIFICATE_LOCATION` };
}

/** Those of the URL and those of variables: one of each. */
function findFiles(urlName: string, { sslFiles }: DatabaseUrl, { ca, certificate, key }: DatabaseTlsFiles): TlsFiles {
  const choose = (parameter: keyof DatabaseUrl['sslFiles'], variable: TlsFile | undefined): TlsFile | undefined => {
    const path = sslFiles[parameter];
    if (path === undefined) return variable;
    if (variable !== undefined) throw new Error(`it has ${parameter}, and ${variable.name} is set: remove one of them`);
    return { name: `${parameter} of ${urlName}`, path };
  };
  const root = choose('sslrootcert', ca);
  const files = {
    ca: root?.path === 'system' ? ('system' as const) : root,
    certificate: choose('sslcert', certificate),
    key: choose('sslkey', key),
  };
  if ((files.certificate === undefined) !== (files.key === undefined)) {
    throw new Error('a client certificate needs its key, and a key its certificate: set both or none');
  }
  return files;
}
