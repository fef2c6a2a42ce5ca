// A certificate authority of the test's own, by openssl: it signs what a test needs, valid or not. Guarantees: every file
// lies in the folder given; keys are small and quick. Who believes it is left to the test.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

export interface Authority {
  /** The file of its own certificate. */
  readonly ca: string;
  /** Signs one for `commonName`; `names` like `DNS:localhost,IP:127.0.0.1`; `days` below 0: expired since then. */
  sign(commonName: string, options?: { names?: string; days?: number; keyPassword?: string }): Certificate;
}

/** A renewed certificate must not look like the old one, so each has a number of its own. */
let serial = 1;

export function createAuthority(directory: string, name = 'authority'): Authority {
  const home = join(directory, name);
  mkdirSync(home, { recursive: true });
  chmodSync(home, 0o755);
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { cwd: home, stdio: ['ignore', 'pipe', 'pipe'] });
  const newKey = (file: string) =>
    openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file);
  newKey('ca.key');
  openssl('req', '-x509', '-new', '-key', 'ca.key', '-subj', `/CN=Test ${name}`, '-days', '30', '-out', 'ca.crt');
  return {
    ca: join(home, 'ca.crt'),
    sign(commonName, { names, days = 30, keyPassword } = {}) {
      serial += 1;
      const file = `${serial}-${commonName.replaceAll(/[^a-z0-9]/gi, '_')}`;
      newKey(`${file}.key`);
      writeFileSync(
        join(home, `${file}.ext`),
        names === undefined ? 'basicConstraints=CA:FALSE\n' : `subjectAltName=${names}\n`,
      );
      openssl('req', '-new', '-key', `${file}.key`, '-subj', `/CN=${commonName}`, '-out', `${file}.csr`);
      openssl(
        ...['x509', '-req', '-in', `${file}.csr`, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-set_serial', String(serial)],
        ...['-days', String(days), '-extfile', `${file}.ext`, '-out', `${file}.crt`],
      );
      if (keyPassword !== undefined) {
        openssl('pkcs8', '-topk8', '-in', `${file}.key`, '-out', `${file}.enc.key`, '-passout', `pass:${keyPassword}`);
      }
      const key = join(home, keyPassword === undefined ? `${file}.key` : `${file}.enc.key`);
      return { certificate: join(home, `${file}.crt`), key };
    },
  };
}
