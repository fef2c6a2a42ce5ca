/**
 * What is wrong when TLS with a server fails, under a name of its own for each cause.
 *
 * Guarantees: the message names the server, what OpenSSL found and the variable that an operator corrects. Errors that are
 * not of TLS are returned as they are. Pure. Leaves to failure.ts: what follows from an error that nobody explained here.
 */
import { CERTIFICATE_CODE, TLS_CODE, WaitingError } from '../failure.ts';

/** The variables of one connection, as an operator knows them. */
interface TlsVariables {
  /** That of the address: KAFKA_BROKERS, ORDER_DATABASE_URL. */
  readonly address: string;
  readonly ca: string;
  readonly certificate: string;
}

export interface TlsPeer {
  /** Like `Kafka at host:port`. */
  readonly server: string;
  readonly variables: TlsVariables;
}

/** TLS with a server failed for a cause that a person removes. */
export class TlsError extends WaitingError {
  override readonly name = 'TlsError';
  readonly code: string;

  constructor({ code, message }: { readonly code: string; readonly message: string }, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

interface Cause {
  readonly code: string;
  readonly pattern: RegExp;
  /** `found` is OpenSSL's name of it, or Node's sentence. */
  readonly explain: (found: string, variables: TlsVariables) => string;
}

const CAUSES: readonly Cause[] = [
  {
    code: 'TLS_CLIENT_CERTIFICATE',
    // The server has refused our certificate, or the lack of one, by an alert.
    pattern:
      /\bERR_SSL_[\w/]*ALERT_\w*(BAD_CERTIFICATE|CERTIFICATE_(REQUIRED|EXPIRED|REVOKED|UNKNOWN)|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA)\b/,
    explain: (found, { certificate }) => `it refuses this client's certificate (${found}): correct ${certificate}`,
  },
  {
    code: 'TLS_UNKNOWN_CA',
    pattern:
      /\b(UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|UNABLE_TO_VERIFY_LEAF_SIGNATURE|(DEPTH_ZERO_)?SELF_SIGNED_CERT(_IN_CHAIN)?|CERT_SIGNATURE_FAILURE)\b/,
    explain: (found, { ca, address }) =>
      `its certificate is not signed by an authority that ${ca} names (${found}). No password was sent to it. Put the ` +
      `authority's certificate into that file; if the server is not yours, correct ${address}`,
  },
  {
    code: 'TLS_HOST_NAME',
    pattern: /\b(ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH)\b/,
    explain: (_found, { address }) =>
      `its certificate is for another host. Correct the host in ${address}, or give the server a certificate for that name`,
  },
  {
    code: 'TLS_CERTIFICATE_EXPIRED',
    pattern: /\bCERT_(HAS_EXPIRED|NOT_YET_VALID)\b/,
    explain: (found) => `its certificate is not valid now (${found}): renew it on the server`,
  },
  {
    code: 'TLS_CERTIFICATE',
    pattern: CERTIFICATE_CODE,
    explain: (found, { ca }) => `its certificate was not accepted (${found}): correct it, or ${ca}`,
  },
  {
    code: 'TLS_HANDSHAKE',
    pattern: TLS_CODE,
    explain: (found) =>
      `it does not speak TLS as this program does (${found}): check its TLS versions, and whether TLS is on there`,
  },
];

/** `error` as a {@link TlsError}; one that is not of TLS comes back as it is. */
export function explainTlsFailure(error: unknown, { server, variables }: TlsPeer): unknown {
  if (!(error instanceof Error) || error instanceof WaitingError) return error;
  const { code, message } = error as { code?: unknown; message: string };
  const found = typeof code === 'string' ? code : message;
  const cause = CAUSES.find(({ pattern }) => pattern.test(`${found} ${message}`));
  if (cause === undefined) return error;
  return new TlsError(
    { code: cause.code, message: `${server}: ${cause.explain(found, variables)}. OpenSSL reports: ${message}` },
    { cause: error },
  );
}
