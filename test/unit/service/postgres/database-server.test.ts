// What is made of a URL and the variables beside it: libpq's table of sslmode, explicit for every library, and what is read
// again for each connection.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabaseServer, findTlsWarning, serverOf } from '#service/postgres/database-server.ts';
import { ENCRYPTION } from '#service/postgres/encrypted-connection.ts';
import { fileSecret, fixedSecret } from '#service/security/secret.ts';
import { type Authority, createAuthority } from '../../../support/security/authority.ts';

let directory: string;
let authority: Authority;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'database-server-'));
  authority = createAuthority(directory);
});
afterAll(() => rmSync(directory, { recursive: true }));

const open = (query: string, ca?: string) =>
  createDatabaseServer(fixedSecret('ORDER_DATABASE_URL', `postgres://u:p@db.example/d${query}`), {
    ca: ca === undefined ? undefined : { name: 'ORDER_DATABASE_SSL_CA_LOCATION', path: ca },
  });
const tlsOf = (query: string, ca?: string) => {
  const { ssl } = open(query, ca);
  if (ssl === false) return false;
  const { mode, tlsOptions } = ssl[ENCRYPTION];
  const { rejectUnauthorized, checkServerIdentity } = tlsOptions();
  // What a library would do by itself is no weaker than what is meant.
  expect(ssl.rejectUnauthorized).toBe(rejectUnauthorized);
  return { mode, verifies: rejectUnauthorized, byName: checkServerIdentity === undefined };
};

describe('a server of Postgres', () => {
  it('has the TLS of libpq’s table', () => {
    const unverified = { verifies: false, byName: false };
    expect(tlsOf('?sslmode=disable')).toBe(false);
    expect(tlsOf('')).toEqual({ mode: 'prefer', ...unverified });
    for (const mode of ['allow', 'prefer', 'require'])
      expect(tlsOf(`?sslmode=${mode}`)).toEqual({ mode, ...unverified });
    const chain = { verifies: true, byName: false };
    for (const mode of ['allow', 'prefer', 'require', 'verify-ca']) {
      expect(tlsOf(`?sslmode=${mode}`, authority.ca)).toEqual({ mode, ...chain });
      expect(tlsOf(`?sslmode=${mode}&sslrootcert=${authority.ca}`)).toEqual({ mode, ...chain });
    }
    const full = { mode: 'verify-full', verifies: true, byName: true };
    expect(tlsOf('?sslmode=verify-full', authority.ca)).toEqual(full);
    expect(tlsOf('?sslrootcert=system')).toEqual(full);
    expect(serverOf('postgres://u@/d?host=/tmp&sslmode=require').ssl).toBe(false);
  });

  it.each<[string, string, RegExp]>([
    ['?sslmode=verify-full', '', /needs the authority.*ORDER_DATABASE_SSL_CA_LOCATION/],
    ['?sslmode=verify-ca', '', /needs the authority/],
    ['?sslmode=require&sslrootcert=system', '', /needs sslmode=verify-full/],
    ['?sslmode=verify-full&sslrootcert=/nowhere', '', /sslrootcert of ORDER_DATABASE_URL.*\(ENOENT\)/],
    ['?sslmode=verify-full', 'none', /ORDER_DATABASE_SSL_CA_LOCATION.*\(ENOENT\)/],
    ['?sslmode=verify-full', 'empty', /ORDER_DATABASE_SSL_CA_LOCATION.*no certificate/],
    ['?sslrootcert=/a', 'ca', /has sslrootcert, and ORDER_DATABASE_SSL_CA_LOCATION is set/],
    ['?sslcert=/a', '', /needs its key/],
  ])('is refused for %j with the file %j', (query, file, problem) => {
    writeFileSync(join(directory, 'empty'), 'nothing');
    const ca = { '': undefined, ca: authority.ca }[file] ?? (file === '' ? undefined : join(directory, file));
    expect(() => open(query, ca)).toThrow(problem);
  });

  it('refuses a key that is of another certificate', () => {
    const [one, other] = [authority.sign('one'), authority.sign('other')];
    const files = `sslcert=${one.certificate}&sslkey=${other.key}`;
    expect(() => serverOf(`postgres://u@h/d?${files}`)).toThrow(/key belongs to the certificate/);
  });

  it('reads password and certificates again at each connection', () => {
    const [url, ca] = [join(directory, 'url'), join(directory, 'changing-ca')];
    writeFileSync(url, 'postgres://u:first@h/d?sslmode=require\n');
    writeFileSync(ca, 'nothing yet');
    const secret = fileSecret('ORDER_DATABASE_URL_FILE', url);
    const files = { ca: { name: 'ORDER_DATABASE_SSL_CA_LOCATION', path: ca } };
    expect(() => createDatabaseServer(secret, files)).toThrow(/no certificate/);
    writeFileSync(ca, '-----BEGIN CERTIFICATE-----\n');
    const server = createDatabaseServer(secret, { ca: { ...files.ca, path: authority.ca } });
    expect(server.password()).toBe('first');
    writeFileSync(url, 'postgres://u:second@h/d?sslmode=require\r\n');
    expect(server.password()).toBe('second');
    writeFileSync(url, 'postgres://other:second@h/d?sslmode=require');
    expect(() => server.password()).toThrow(expect.objectContaining({ code: 'DATABASE_URL_CHANGED' }));
    rmSync(url);
    expect(() => server.password()).toThrow(expect.objectContaining({ code: 'SECRET_FILE' }));
  });

  it('shows its password nowhere', () => {
    const server = serverOf('postgres://u:geheim@h/d');
    expect(inspect(server, { depth: 9, showHidden: true }) + JSON.stringify(server)).not.toContain('geheim');
  });

  it('is warned of where it is elsewhere and nobody has decided about TLS', () => {
    const warningOf = (url: string) => findTlsWarning(fixedSecret('CART_DATABASE_URL', url));
    expect(warningOf('postgres://u@db.example/d')).toMatch(/CART_DATABASE_URL has no sslmode/);
    for (const url of ['127.0.0.1/d', 'localhost/d', '[::1]/d', '%2Ftmp/d', 'db.example/d?sslmode=disable']) {
      expect(warningOf(`postgres://u@${url}`), url).toBeUndefined();
    }
  });
});
