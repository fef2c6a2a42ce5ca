// The first step of a deployment: certificates that are for their servers and for nobody else, and passwords; what is there stays.
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDotEnv, repository } from './compose-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'tillstream-make-env-'));
const makeEnv = () => execFileSync(join(directory, 'ops', 'make-env.sh'), { stdio: ['ignore', 'pipe', 'pipe'] });
const path = (...parts: string[]) => join(directory, ...parts);
const read = (...parts: string[]) => readFileSync(path(...parts), 'utf8');
const modeOf = (...parts: string[]) => statSync(path(...parts)).mode & 0o777;
const certificates = () =>
  readdirSync(path('certificates'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.\w+$/.test(name))
    .toSorted();

beforeAll(() => {
  cpSync(join(repository, 'ops'), path('ops'), { recursive: true });
  writeFileSync(path('.env'), 'POSTGRES_PASSWORD=that-of-the-volumes\nREADER_PASSWORD=without-an-end');
  makeEnv();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('make-env.sh', () => {
  it('adds what an .env of an older version lacks, and leaves what it has', () => {
    const passwords = readDotEnv(path('.env'));
    expect([...passwords.keys()]).toHaveLength(10);
    expect(passwords.get('POSTGRES_PASSWORD')).toBe('that-of-the-volumes');
    expect(passwords.get('READER_PASSWORD')).toBe('without-an-end');
    const made = [...passwords.values()].slice(2);
    for (const password of made) expect(password).toMatch(/^[0-9a-f]{48}$/);
    expect(new Set(made).size).toBe(8);
    expect(modeOf('.env')).toBe(0o600);
  });

  it('changes nothing when it is run again', () => {
    const before = [read('.env'), ...certificates().map((name) => read('certificates', name))];
    makeEnv();
    expect([read('.env'), ...certificates().map((name) => read('certificates', name))]).toEqual(before);
    expect(readdirSync(directory).toSorted()).toEqual(['.env', 'certificates', 'ops']);
  });

  it('keeps the keys from other users of this machine, and no key that signs', () => {
    expect(modeOf('certificates')).toBe(0o700);
    expect(certificates()).toEqual([
      'authority/ca.crt',
      ...['carts-db/server.crt', 'carts-db/server.key'],
      ...['kafka/ca.crt', 'kafka/server.crt', 'kafka/server.pem'],
      ...['orders-db/server.crt', 'orders-db/server.key'],
    ]);
  });

  it.each(['orders-db', 'carts-db', 'kafka'])('makes %s a certificate for its name and for this machine', (name) => {
    const authority = new X509Certificate(read('certificates', 'authority', 'ca.crt'));
    const certificate = new X509Certificate(read('certificates', name, 'server.crt'));
    expect(certificate.verify(authority.publicKey)).toBe(true);
    expect(certificate.checkIssued(authority)).toBe(true);
    expect([certificate.ca, authority.ca]).toEqual([false, true]);
    expect(certificate.checkHost(name)).toBe(name);
    expect(certificate.checkHost('localhost')).toBe('localhost');
    expect(certificate.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(certificate.checkHost(name === 'kafka' ? 'orders-db' : 'kafka')).toBe(undefined);
    const days = (Date.parse(certificate.validTo) - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(729);
    expect(days).toBeLessThan(731);
  });

  it('makes new ones where the folder was removed', () => {
    const before = read('certificates', 'kafka', 'server.pem');
    rmSync(path('certificates'), { recursive: true });
    makeEnv();
    expect(read('certificates', 'kafka', 'server.pem')).not.toBe(before);
  });
});
