/**
 * The files of one TLS client: who signs the server's certificate, and with what the client proves who it is.
 *
 * Guarantees: they are read at each call, so that a renewed certificate is in force at the next connection; what can't be
 * read, or is no certificate or key, is an error that names the variable, never the content. Leaves to callers: which
 * checks of the server's certificate these files are for.
 */
import { readFileSync } from 'node:fs';
import { createSecureContext, getCACertificates } from 'node:tls';
import { WaitingError } from '../failure.ts';
import type { Secret } from './secret.ts';

export interface TlsFile {
  /** The environment variable that named it. */
  readonly name: string;
  readonly path: string;
}

export interface TlsFiles {
  /** `system`: the authorities that the operating system trusts. */
  readonly ca?: TlsFile | 'system' | undefined;
  readonly certificate?: TlsFile | undefined;
  readonly key?: TlsFile | undefined;
  readonly keyPassword?: Secret | undefined;
}

/** As `tls.connect` takes them. */
export interface TlsMaterial {
  ca?: string | string[];
  cert?: string;
  key?: string;
  passphrase?: string;
}

/** A file of the TLS client can't be used. */
export class TlsFileError extends WaitingError {
  readonly code = 'TLS_FILE';
  override readonly name = 'TlsFileError';

  constructor(variable: string, problem: string, options?: ErrorOptions) {
    super(`${variable}: ${problem}`, options);
  }
}

const CERTIFICATE = /-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/;

/** @throws TlsFileError, SecretFileError */
export function readTlsFiles({ ca, certificate, key, keyPassword }: TlsFiles): TlsMaterial {
  const material: TlsMaterial = {};
  if (ca === 'system') material.ca = getCACertificates('system');
  else if (ca !== undefined) material.ca = readCertificates(ca);
  if (certificate !== undefined) material.cert = readCertificates(certificate);
  if (key !== undefined) material.key = readFile(key);
  if (keyPassword !== undefined) material.passphrase = keyPassword.read();
  try {
    createSecureContext({ ...material });
  } catch (error) {
    const { code, reason } = error as { code?: string; reason?: string };
    const file = key ?? certificate ?? (ca as TlsFile);
    throw new TlsFileError(
      file.name,
      `the certificates and the key can't be used together (${reason ?? code}). Check that each is in PEM format, that the ` +
        `key belongs to the certificate, and that the key's password is set if it has one`,
      { cause: error },
    );
  }
  return material;
}

function readCertificates(file: TlsFile): string {
  const text = readFile(file);
  if (!CERTIFICATE.test(text))
    throw new TlsFileError(file.name, 'the file that it names holds no certificate in PEM format');
  return text;
}

function readFile({ name, path }: TlsFile): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new TlsFileError(name, `the file that it names can't be read (${code})`, { cause: error });
  }
}
