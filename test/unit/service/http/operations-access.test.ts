// Another service behind an address that asks for a client certificate: who is let in, and what is said otherwise.
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { readEnvironment } from '#service/environment.ts';
import { operationsAccessOf, operationsVariables } from '#service/http/operations-access.ts';
import { askJson } from '../../../../cdc-reader/status/ask-service.ts';
import { createTestDirectory, removeTestDirectory } from '../../../support/process/test-directory.ts';
import { type Authority, createAuthority } from '../../../support/security/authority.ts';

let directory: string;
let [authority, stranger]: Authority[] = [];
let server: Server;
type Env = Record<string, string>;

beforeAll(async () => {
  directory = createTestDirectory('operations-access');
  [authority, stranger] = [createAuthority(directory), createAuthority(directory, 'stranger')];
  const own = authority.sign('127.0.0.1', { names: 'IP:127.0.0.1' });
  const tls = { cert: readFileSync(own.certificate), key: readFileSync(own.key), ca: readFileSync(authority.ca) };
  server = createServer({ ...tls, requestCert: true, rejectUnauthorized: true }, ({ headers }, response) => {
    response.end(JSON.stringify({ authorization: headers.authorization ?? null }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterAll(() => {
  server.close();
  server.closeAllConnections();
  removeTestDirectory(directory);
});

const accessOf = (env: Env) => operationsAccessOf(readEnvironment(operationsVariables, env));
const ask = (env: Env) =>
  askJson(new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`), z.unknown(), {
    deadlineMs: 5_000,
    access: accessOf(env),
  });
function clientOf(signer: Authority): Env {
  const { certificate, key } = signer.sign('console');
  return {
    OPERATIONS_SSL_CA_LOCATION: authority!.ca,
    OPERATIONS_SSL_CERTIFICATE_LOCATION: certificate,
    OPERATIONS_SSL_KEY_LOCATION: key,
  };
}

it('lets in who has a certificate of its authority, with the token', async () => {
  const env = { ...clientOf(authority!), OPERATIONS_TOKEN: 'secret' };
  expect(await ask(env)).toEqual({ authorization: 'Bearer secret' });
  expect(accessOf(env).certificates.map(({ name }) => name)).toEqual([
    'OPERATIONS_SSL_CA_LOCATION',
    'OPERATIONS_SSL_CERTIFICATE_LOCATION',
  ]);
});

it.each<[who: string, env: () => Env]>([
  ['has a certificate of another authority', () => clientOf(stranger!)],
  ['has none', () => ({ OPERATIONS_SSL_CA_LOCATION: authority!.ca })],
  [
    'does not know the authority of the service',
    () => ({ ...clientOf(authority!), OPERATIONS_SSL_CA_LOCATION: stranger!.ca }),
  ],
  ['knows of no files', () => ({})],
])('gives no answer to who %s', async (_who, env) => {
  await expect(ask(env())).rejects.toThrow(/did not answer: (?!no answer in time)/);
});

it.each<[what: string, env: () => Env, problem: RegExp]>([
  ['a certificate without its key', () => ({ OPERATIONS_SSL_CERTIFICATE_LOCATION: authority!.ca }), /set both or none/],
  ['a file that is not there', () => ({ OPERATIONS_SSL_CA_LOCATION: '/nonexistent' }), /CA_LOCATION.*ENOENT/],
])('refuses %s', (_what, env, problem) => {
  expect(() => accessOf(env())).toThrow(problem);
});
