import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMetrics } from '#service/metrics.ts';
import { formatExpiry, readDaysLeft, watchCertificates } from '#service/security/certificate-expiry.ts';
import { createLogLines } from '../../../support/process/log-lines.ts';
import { type Authority, createAuthority } from '../../../support/security/authority.ts';

let directory: string;
let authority: Authority;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'certificate-expiry-'));
  authority = createAuthority(directory);
});
afterAll(() => rmSync(directory, { recursive: true }));

describe('the certificates of a process', () => {
  it('are counted in days, the client’s own or the authority that ends last', () => {
    const [short, long] = [authority.sign('short', { days: 3 }), authority.sign('long', { days: 20 })];
    const both = join(directory, 'both');
    writeFileSync(both, readFileSync(short.certificate, 'utf8') + readFileSync(long.certificate, 'utf8'));
    const file = { name: 'X', path: both };
    expect(readDaysLeft(file, Date.now(), false)).toBeCloseTo(3, 1);
    expect(readDaysLeft(file, Date.now(), true)).toBeCloseTo(20, 1);
    expect(readDaysLeft({ name: 'X', path: join(directory, 'none') }, Date.now(), true)).toBeUndefined();
  });

  it('show in a metric, and in one warning before they end', async () => {
    const metrics = createMetrics('test');
    const log = createLogLines();
    const files = [
      { name: 'KAFKA_SSL_CERTIFICATE_LOCATION', path: authority.sign('soon', { days: 5 }).certificate },
      { name: 'KAFKA_SSL_CA_LOCATION', path: authority.ca },
    ];
    watchCertificates(files, metrics, log.logger);
    expect(await metrics.render()).toMatch(
      /tillstream_tls_certificate_days_left\{variable="KAFKA_SSL_CERTIFICATE_LOCATION"\} (4\.9|5)/,
    );
    const warnings = log.lines.filter(({ event }) => event === 'tls.certificate-ends');
    expect(warnings).toMatchObject([{ variable: 'KAFKA_SSL_CERTIFICATE_LOCATION', daysLeft: 4 }]);
  });
});

it.each([
  [12.6, 'expires in 12 days'],
  [1.2, 'expires in 1 day'],
  [0.5, 'expires in 0 days'],
  [-0.5, 'expired 0 days ago'],
  [-3.2, 'expired 3 days ago'],
])('a certificate with %d days left %s', (daysLeft, text) => {
  expect(formatExpiry(daysLeft)).toBe(text);
});
