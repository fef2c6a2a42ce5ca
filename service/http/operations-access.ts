// How this process proves to the operations addresses of other services who it is: a bearer token, a client certificate, or both
// (an ingress in front of them may ask for one). Guarantees: token and files are read at each use, so renewed ones count; a file
// that can't be used is a problem of the configuration. The client that knows certificates is loaded only where they are set.
import { ConfigurationError, optional, secret, text, type Variable } from '#service/environment.ts';
import { certificatesOf } from '#service/security/certificate-expiry.ts';
import type { Secret } from '#service/security/secret.ts';
import { readTlsFiles, type TlsFile, TlsFileError, type TlsFiles } from '#service/security/tls-files.ts';

const CA = 'OPERATIONS_SSL_CA_LOCATION';
const CERTIFICATE = 'OPERATIONS_SSL_CERTIFICATE_LOCATION';
const KEY = 'OPERATIONS_SSL_KEY_LOCATION';

export const operationsVariables = {
  operationsToken: optional(
    secret(
      'OPERATIONS_TOKEN',
      'The bearer token for them, with the scope operator; not needed where they are on loopback',
    ),
  ),
  operationsSslCa: optional(text(CA, 'File of the authorities of their certificates (default: the runtime’s)')),
  operationsSslCertificate: optional(text(CERTIFICATE, 'File of the client certificate for them')),
  operationsSslKey: optional(text(KEY, 'File of the key of that certificate')),
};

type Values = {
  readonly [K in keyof typeof operationsVariables]: (typeof operationsVariables)[K] extends Variable<infer T>
    ? T
    : never;
};

type Fetch = typeof fetch;

export interface OperationsAccess {
  readonly token: Secret | undefined;
  readonly fetch: Fetch;
  /** Those whose end matters. */
  readonly certificates: readonly TlsFile[];
}

/** @throws ConfigurationError */
export function operationsAccessOf(values: Values): OperationsAccess {
  const { operationsToken: token, operationsSslCa: ca, operationsSslCertificate, operationsSslKey } = values;
  if ((operationsSslCertificate === undefined) !== (operationsSslKey === undefined)) {
    throw new ConfigurationError([`${CERTIFICATE} and ${KEY}: set both or none`]);
  }
  const fileOf = (name: string, path: string | undefined) => (path === undefined ? undefined : { name, path });
  const files: TlsFiles = {
    ca: fileOf(CA, ca),
    certificate: fileOf(CERTIFICATE, operationsSslCertificate),
    key: fileOf(KEY, operationsSslKey),
  };
  const certificates = certificatesOf(files);
  if (certificates.length === 0) return { token, fetch, certificates };
  try {
    readTlsFiles(files);
  } catch (error) {
    if (error instanceof TlsFileError) throw new ConfigurationError([error.message]);
    throw error;
  }
  return { token, fetch: createTlsFetch(files), certificates };
}

function createTlsFetch(files: TlsFiles): Fetch {
  const loaded = import('undici').then(({ Agent, buildConnector, fetch }) => {
    const dispatcher = new Agent({
      connect: (options, callback) => {
        try {
          buildConnector({ ...readTlsFiles(files) })(options, callback);
        } catch (error) {
          callback(error as Error, null);
        }
      },
    });
    return (url: string | URL | Request, init?: RequestInit) =>
      fetch(String(url), { ...(init as object), dispatcher }) as unknown as Promise<Response>;
  });
  return async (url, init) => (await loaded)(url, init);
}
