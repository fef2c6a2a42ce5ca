/**
 * How long the certificates of this process's files are still valid: in a metric, and in a warning before they end.
 *
 * Guarantees: a renewed file counts within the hour, whether or not a connection has used it; of several certificates in a
 * file of authorities the one that ends last counts, of a client's the first, which is its own. Leaves to the operator:
 * the servers' certificates, which end a connection attempt by name when they have expired.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { TlsFile, TlsFiles } from './tls-files.ts';

/** Logged at the start and every day, from two weeks before the end. */
const CERTIFICATE_ENDS = 'tls.certificate-ends';
const DAYS_LEFT_METRIC = 'tillstream_tls_certificate_days_left';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const WARN_BELOW_DAYS = 14;
const PEM = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]+?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** The files whose end matters. */
export function certificatesOf({ ca, certificate }: TlsFiles): readonly TlsFile[] {
  return [ca, certificate].filter((file) => file !== undefined && file !== 'system');
}

/** Days until `file` is no use any more, below 0 since then; undefined where it can't be read now. */
export function readDaysLeft({ path }: TlsFile, nowMs: number, isAuthority: boolean): number | undefined {
  try {
    const ends = (readFileSync(path, 'utf8').match(PEM) ?? []).map((pem) =>
      Date.parse(new X509Certificate(pem).validTo),
    );
    const endMs = isAuthority ? Math.max(...ends) : ends[0];
    return endMs === undefined ? undefined : (endMs - nowMs) / DAY_MS;
  } catch {
    return undefined; // the next connection fails with it by name
  }
}

/** @param daysLeft negative: it has expired */
export function formatExpiry(daysLeft: number): string {
  const days = Math.floor(Math.abs(daysLeft));
  const some = `${days} ${days === 1 ? 'day' : 'days'}`;
  return daysLeft < 0 ? `expired ${some} ago` : `expires in ${some}`;
}

/** Watches for the life of the process. */
export function watchCertificates(files: readonly TlsFile[], metrics: Metrics, logger: Logger): void {
  if (files.length === 0) return;
  const gauge = metrics.gauge(DAYS_LEFT_METRIC, 'Days until the certificate of a file ends', ['variable']);
  const warnedAtMs = new Map<string, number>();
  const sample = (): void => {
    const nowMs = Date.now();
    for (const file of files) {
      const daysLeft = readDaysLeft(file, nowMs, /_CA_|sslrootcert/.test(file.name));
      if (daysLeft === undefined) {
        gauge.remove({ variable: file.name });
        continue;
      }
      gauge.set({ variable: file.name }, daysLeft);
      if (daysLeft >= WARN_BELOW_DAYS || nowMs - (warnedAtMs.get(file.name) ?? 0) < DAY_MS) continue;
      warnedAtMs.set(file.name, nowMs);
      logger.warn(
        { event: CERTIFICATE_ENDS, variable: file.name, daysLeft: Math.floor(daysLeft) },
        `The certificate that ${file.name} names ${formatExpiry(daysLeft)}: renew the file; no restart is needed.`,
      );
    }
  };
  sample();
  setInterval(sample, HOUR_MS).unref();
}
