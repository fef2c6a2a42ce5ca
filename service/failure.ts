// What follows from a failure: one table over every class of SQLSTATE, every errno of the system and every TLS error.
// Three answers, and no fourth: transient (ends by itself: retry with back-off), waiting (needs a person: named, with the
// remedy, tried for ever), unknown (nobody has thought of it: a few tries, then waiting with the error as it is). What
// must not be retried at all is a HaltError and never comes here. Kafka's codes are in kafka/failure.ts. Pure.

export type Failure =
  | { readonly kind: 'transient'; readonly reason: string }
  | { readonly kind: 'waiting'; readonly name: string; readonly remedy: string }
  | { readonly kind: 'unknown' };

/** A cause that only a person can remove. Its message says what was found and what to do; `code` names it for metrics. */
export abstract class WaitingError extends Error {
  abstract readonly code: string;
}

const transient = 'transient';
const unknown = 'unknown';
type Row = typeof transient | typeof unknown | readonly [name: string, remedy: string];

const AUTHENTICATION = [
  'DATABASE_AUTHENTICATION',
  'The server refused the login. Correct user and password in the database URL, or the server’s pg_hba.conf.',
] as const;
const MISSING_DATABASE = ['DATABASE_MISSING', 'Create the database, or correct its name in the database URL.'] as const;
const MISSING_TABLES = [
  'TABLES_MISSING',
  'A table, column or schema of this version is missing: run `npm run migrate`, or start the service with MIGRATE=on.',
] as const;
const DISK = ['DISK_FULL', 'Free space on that disk, or enlarge it.'] as const;
const DAMAGED = [
  'DATABASE_DAMAGED',
  'The server can’t read or write its files. Read its log, check its disk, and restore it if it must be.',
] as const;

/** By SQLSTATE or its class (Postgres, Appendix A). A code goes before its class. */
export const sqlStates: Readonly<Record<string, Row>> = {
  '00': unknown,
  '01': unknown,
  '02': unknown,
  '03': unknown,
  '08': transient, // connection exceptions
  '08P01': [
    'DATABASE_PROTOCOL',
    'The server, or a connection pooler before it, refuses how this program connects. Connect to Postgres itself, or to a pooler in session mode.',
  ],
  '09': unknown,
  '0A': unknown,
  '0B': unknown,
  '0F': unknown,
  '0L': unknown,
  '0P': unknown,
  '0Z': unknown,
  '10': unknown,
  '20': unknown,
  '21': unknown,
  '22': unknown,
  '23': unknown,
  '24': unknown,
  '25': unknown,
  '25P03': transient, // the session was ended for idling in a transaction
  '25P04': transient, // … or for the transaction's length
  '25006': transient, // the server became a standby, until the failover has ended
  '26': unknown,
  '27': unknown,
  '28': AUTHENTICATION,
  '2B': unknown,
  '2D': unknown,
  '2F': unknown,
  '34': unknown,
  '38': unknown,
  '39': unknown,
  '3B': unknown,
  '3D': MISSING_DATABASE,
  '3F': MISSING_TABLES,
  '40': transient, // rolled back for the sake of another transaction
  '42': unknown,
  '42P01': MISSING_TABLES,
  '42703': MISSING_TABLES,
  '42883': MISSING_TABLES,
  '42501': [
    'DATABASE_PRIVILEGE',
    'Grant the role what the message names: `npm run migrate` prints the grants, docs/operations.md lists them.',
  ],
  '44': unknown,
  '53': transient, // out of connections or memory
  '53100': DISK,
  '53400': ['SERVER_LIMIT', 'Raise the server’s limit that the message names.'],
  '54': unknown,
  '55': unknown,
  '55006': transient, // in use by another session
  '55P03': transient, // lock timeout
  '57': transient, // cancelled, shutting down, starting up, session ended
  '57P04': MISSING_DATABASE,
  '58': DAMAGED,
  '72': transient, // snapshot too old
  F0: ['SERVER_CONFIGURATION', 'Correct the server’s configuration files; its log names the line.'],
  HV: unknown,
  P0: unknown,
  XX: unknown,
  XX001: DAMAGED,
  XX002: DAMAGED,
};

const FILE_ACCESS = ['FILE_ACCESS', 'Correct the path or its permissions; the message names it.'] as const;

/** By Node's code of a system error. A socket's errors end by themselves, a file's need a person. */
export const systemErrors: Readonly<Record<string, Row>> = {
  ...all(
    transient,
    'EADDRNOTAVAIL EAGAIN EAI_AGAIN EALREADY EBUSY ECANCELED ECONNABORTED ECONNREFUSED ECONNRESET EHOSTDOWN EHOSTUNREACH',
    'EINPROGRESS EINTR EMFILE ENETDOWN ENETRESET ENETUNREACH ENFILE ENOBUFS ENOMEM ENOTCONN ENOTFOUND EPIPE ESHUTDOWN',
    'ETIME ETIMEDOUT EWOULDBLOCK',
  ),
  ...all(DISK, 'ENOSPC EDQUOT EFBIG'),
  ...all(
    FILE_ACCESS,
    'EACCES EEXIST EISDIR ELOOP ENAMETOOLONG ENODEV ENOENT ENOTDIR ENOTEMPTY ENXIO EPERM EROFS ESTALE',
  ),
  ...all(FILE_ACCESS, 'ETXTBSY EMLINK EXDEV'),
  EIO: ['DISK_ERROR', 'The disk can’t be read or written. Read the system’s log and replace it if it must be.'],
  EADDRINUSE: ['ADDRESS_IN_USE', 'Stop what listens there, or choose another address.'],
  ...all(
    unknown,
    'E2BIG EAFNOSUPPORT EBADF EBADMSG ECHILD EDEADLK EDESTADDRREQ EDOM EFAULT EFTYPE EIDRM EILSEQ EINVAL EISCONN EMSGSIZE',
    'EMULTIHOP ENODATA ENOEXEC ENOLCK ENOLINK ENOMSG ENONET ENOPROTOOPT ENOSR ENOSTR ENOSYS ENOTSOCK ENOTSUP ENOTTY',
    'ENOTBLK EOPNOTSUPP EOVERFLOW EPROTO EPROTONOSUPPORT EPROTOTYPE ERANGE EREMOTEIO ESOCKTNOSUPPORT ESPIPE ESRCH',
    'EUNATCH ECHARSET EOF UNKNOWN EAI_ADDRFAMILY EAI_BADFLAGS EAI_BADHINTS EAI_CANCELED EAI_FAIL EAI_FAMILY EAI_MEMORY',
    'EAI_NODATA EAI_NONAME EAI_OVERFLOW EAI_PROTOCOL EAI_SERVICE EAI_SOCKTYPE ENOTRECOVERABLE EOWNERDEAD',
  ),
};

export const CERTIFICATE = [
  'TLS_CERTIFICATE',
  'The server’s certificate was not accepted: correct the host name, the CA file, or renew the certificate.',
] as const;

/** What OpenSSL says of a certificate (Node, "X509 certificate error codes"); kafkajs has it only in its message. */
export const CERTIFICATE_CODE =
  /\b(UNABLE_TO_(GET_ISSUER_CERT(_LOCALLY)?|GET_CRL|DECRYPT_C(ERT|RL)_SIGNATURE|DECODE_ISSUER_PUBLIC_KEY|VERIFY_LEAF_SIGNATURE)|(CERT|CRL)_(SIGNATURE_FAILURE|NOT_YET_VALID|HAS_EXPIRED)|ERROR_IN_C(ERT|RL)_[A-Z_]+_FIELD|(DEPTH_ZERO_)?SELF_SIGNED_CERT(_IN_CHAIN)?|CERT_(CHAIN_TOO_LONG|REVOKED|UNTRUSTED|REJECTED)|INVALID_(CA|PURPOSE)|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH|ERR_TLS_CERT_ALTNAME_INVALID)\b/;
export const TLS_CODE = /\b(ERR_SSL_[A-Z0-9_]+|ERR_TLS_[A-Z0-9_]+|EPROTO)\b/;
export const TLS = [
  'TLS_HANDSHAKE',
  'The two sides don’t speak TLS alike: one of them has it switched off, or their versions or certificates differ.',
] as const;

/** The pool's codes for want of a connection, and what `pg` throws without a code. */
const NO_CONNECTION = new Set([
  'CONNECTION_POOL:QUEUE_TIMEOUT',
  'CONNECTION_POOL:OPEN_TIMEOUT',
  'DATABASE_ACQUIRE_TIMEOUT',
]);
const CONNECTION_ENDED =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout expired$|Query read timeout$|timeout exceeded when trying to connect)/;

/** `pg` ends a login by SCRAM itself: without a password, or with a server that does not know it either. */
const LOGIN_FAILED = /^SASL: /;

const UNKNOWN: Failure = { kind: 'unknown' };

/** Classifies `error` by itself or by the nearest of its causes that the table knows. */
export function classifyFailure(error: unknown): Failure {
  for (const cause of causesOf(error)) {
    const failure = classifyOne(cause);
    if (failure.kind !== 'unknown') return failure;
  }
  return UNKNOWN;
}

function classifyOne(error: Error): Failure {
  const { code } = error as { code?: unknown };
  const text = typeof code === 'string' ? code : '';
  if (error instanceof WaitingError) return { kind: 'waiting', name: error.code, remedy: '' };
  if (CERTIFICATE_CODE.test(text) || CERTIFICATE_CODE.test(error.message)) return apply(CERTIFICATE, text);
  if (TLS_CODE.test(text)) return apply(TLS, text);
  if (/^[0-9A-Z]{5}$/.test(text)) {
    const row = sqlStates[text] ?? sqlStates[text.slice(0, 2)];
    // An errno of five letters (EPIPE) is none of Postgres's codes.
    if (row !== undefined && systemErrors[text] === undefined) return apply(row, text);
  }
  if (LOGIN_FAILED.test(error.message)) return apply(AUTHENTICATION, text);
  const row = systemErrors[text];
  if (row !== undefined) return apply(row, text);
  if (NO_CONNECTION.has(text) || CONNECTION_ENDED.test(error.message))
    return { kind: 'transient', reason: 'database-away' };
  return UNKNOWN;
}

function apply(row: Row, reason: string): Failure {
  if (row === unknown) return UNKNOWN;
  if (row === transient) return { kind: 'transient', reason };
  return { kind: 'waiting', name: row[0], remedy: row[1] };
}

function all(row: Row, ...codes: readonly string[]): Record<string, Row> {
  return Object.fromEntries(codes.flatMap((line) => line.split(' ')).map((code) => [code, row]));
}

/** How deep a chain of causes is followed: libraries nest three deep; the bound is against a cycle. */
const DEEPEST_CAUSE = 8;

/** `error` and its causes, outermost first; of several errors in one (AggregateError, kafkajs), the first. */
export function* causesOf(error: unknown): Generator<Error> {
  let current = error;
  for (let depth = 0; depth <= DEEPEST_CAUSE && current instanceof Error; depth += 1) {
    yield current;
    const { errors } = current as { errors?: unknown };
    current = Array.isArray(errors) && errors.length > 0 ? errors[0] : current.cause;
  }
}

/** SQLSTATEs of a transaction that was rolled back for the sake of another one: nothing was stored. */
const CONFLICT = /^(40001|40P01)$/;

/** Whether nothing was stored because of another transaction (a serialization failure or a deadlock). */
export function isTransactionConflict(error: unknown): boolean {
  return [...causesOf(error)].some((cause) => CONFLICT.test(String((cause as { code?: unknown }).code)));
}

/** Whether the database can't do its work now, whatever ends that; the outcome of a COMMIT is unknown then. */
export function isDatabaseAway(error: unknown): boolean {
  return !isTransactionConflict(error) && classifyFailure(error).kind !== 'unknown';
}
