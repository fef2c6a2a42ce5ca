/**
 * The one parser of database URLs: every connection is opened by what it returns, whatever library opens it.
 *
 * The libraries' own parsers disagree (about TLS, IPv6, sockets, several hosts, a raw % or &), so that one URL could lead
 * the pool and the replication stream to different places. Guarantees: a URL works for all connections alike, or is refused
 * with a sentence that says what to write instead and repeats nothing of it. Pure. Leaves to environment.ts: the variable's
 * name; to database-server.ts: what becomes of the words about TLS.
 */
import { isIPv6 } from 'node:net';
import { userInfo } from 'node:os';

/** libpq's words, from the weakest to the strongest. */
export const sslModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
export type SslMode = (typeof sslModes)[number];

/** What a URL tells, nothing of it looked up. */
export interface DatabaseUrl {
  /** A name, an address without brackets, or the directory of a socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Empty: none. */
  readonly password: string;
  readonly database: string;
  readonly sslMode: SslMode | undefined;
  /** Paths; `sslrootcert` may be `system`. */
  readonly sslFiles: Readonly<Partial<Record<SslFileParameter, string>>>;
}

const SSL_FILES = ['sslrootcert', 'sslcert', 'sslkey'] as const;
type SslFileParameter = (typeof SSL_FILES)[number];

const EXPECTED = 'expected a URL like postgres://user:password@host:5432/database';
const ENCODE = 'In user, password and database, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25';
const FORM = /^postgres(?:ql)?:\/\/(?:([^/?#]*)@)?([^@/?#]*)\/([^@/?#]+)(?:\?([^#]*))?$/;
const PARAMETERS: readonly string[] = ['host', 'port', 'sslmode', ...SSL_FILES];
const DEFAULT_PORT = '5432';

function refuse(why: string): never {
  throw new Error(why);
}

/** Blanks and line ends around `text` are ignored: files that hold secrets end with one. */
export function parseDatabaseUrl(text: string): DatabaseUrl {
  const url = text.trim();
  if (/^[a-z]+\s*=/.test(url)) refuse(`${EXPECTED}, not keyword=value pairs`);
  const form = FORM.exec(url);
  if (form === null || /\s/.test(url)) refuse(url.includes('://') ? `${EXPECTED}. ${ENCODE}` : EXPECTED);
  const [, userAndPassword = '', hostAndPort = '', database = '', query = ''] = form;
  const colon = userAndPassword.indexOf(':');
  const user = decode(colon < 0 ? userAndPassword : userAndPassword.slice(0, colon));
  const parameters = parseParameters(query);
  return Object.freeze({
    ...parseAddress(hostAndPort, parameters),
    user: user === '' ? userInfo().username : user, // as libpq has it
    password: colon < 0 ? '' : decode(userAndPassword.slice(colon + 1)),
    database: decode(database),
    sslMode: parseSslMode(parameters.get('sslmode')),
    sslFiles: Object.freeze(
      Object.fromEntries(SSL_FILES.flatMap((name) => (parameters.has(name) ? [[name, parameters.get(name)!]] : []))),
    ),
  });
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return refuse(`a % in it is not followed by two hexadecimal digits. ${ENCODE}`);
  }
}

/** Of a parameter that this program does not act upon, one library would, and another would not. */
function parseParameters(query: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const pair of query.split('&').filter((one) => one !== '')) {
    const equals = pair.indexOf('=');
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    if (!PARAMETERS.includes(name))
      refuse(`it has a parameter that is not supported; remove all but ${PARAMETERS.join(', ')}`);
    if (parameters.has(name)) refuse(`it has the parameter ${name} twice`);
    parameters.set(name, decode(equals < 0 ? '' : pair.slice(equals + 1)));
  }
  return parameters;
}

function parseAddress(hostAndPort: string, parameters: ReadonlyMap<string, string>): { host: string; port: number } {
  const [, bracketed, plain = '', given] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d*))?$/.exec(hostAndPort) ?? [];
  const [host, more] = [decode(bracketed ?? plain), parameters.get('host')];
  if (/,/.test(hostAndPort + (more ?? ''))) {
    refuse('it names several hosts. Name one: the primary, or an address that always leads to it');
  }
  if (host !== '' && more !== undefined) refuse('it names a host twice, before the database and as a parameter');
  if (given !== undefined && parameters.has('port')) refuse('it names a port twice');
  const port = given || parameters.get('port') || DEFAULT_PORT;
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
    refuse('its port is not a number from 1 to 65535');
  }
  return { host: parseHost(more ?? host, bracketed !== undefined), port: Number(port) };
}

function parseHost(host: string, isBracketed: boolean): string {
  if (isBracketed ? isIPv6(host) : /^\/./.test(host)) return host;
  if (isBracketed) return refuse('the address in brackets is not an IPv6 address');
  if (isIPv6(host)) return refuse('an IPv6 address needs brackets, like postgres://user@[::1]:5432/database');
  if (!/^[\p{L}\p{N}._-]+$/u.test(host)) {
    return refuse(`${EXPECTED}; for a Unix socket, like postgres://user@/database?host=/var/run/postgresql. ${ENCODE}`);
  }
  return host;
}

function parseSslMode(word: string | undefined): SslMode | undefined {
  const mode = sslModes.find((one) => one === word);
  if (word !== undefined && mode === undefined) refuse(`its sslmode is not one of ${sslModes.join(', ')}`);
  return mode;
}
