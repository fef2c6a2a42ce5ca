// The step of compose.yaml that makes roles and passwords, by psql as there, on a server that asks for passwords. Needs psql 15 or
// newer (for example: apt-get install postgresql-client).
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asRole, type RoleServer, startRoleServer } from '../support/postgres/role-servers.ts';
import { withServer } from '../support/stack/environment.ts';

const script = join(import.meta.dirname, '..', '..', 'ops', 'postgres', 'roles-with-passwords.sh');
const INVALID_PASSWORD = '28P01';
const roles = ['migrator', 'order_api', 'reader', 'cart_sink', 'auditor'] as const;
type Passwords = Readonly<Record<(typeof roles)[number] | 'postgres', string>>;

let server: RoleServer;
let passwords: Passwords;
let urls: { orders: string; carts: string };

beforeAll(async () => {
  server = await startRoleServer('roles-with-passwords');
  const { postgres } = server;
  passwords = newPasswords();
  for (const name of ['orders', 'carts']) await postgres.createDatabase(name);
  urls = { orders: postgres.url('orders'), carts: postgres.url('carts') };
  await withServer(urls.orders, (client) =>
    client.query(`ALTER ROLE postgres PASSWORD ${client.escapeLiteral(passwords.postgres)}`),
  );
  const rules = join(postgres.dataDirectory, 'pg_hba.conf');
  writeFileSync(rules, readFileSync(rules, 'utf8').replaceAll(/\btrust$/gm, 'scram-sha-256'));
  await postgres.restart();
});
afterAll(() => server?.close());

function newPasswords(): Passwords {
  // A quote and a backslash: the script must quote them, not its user.
  const password = () => `${randomBytes(12).toString('hex')}'\\`;
  return Object.fromEntries([...roles, 'postgres'].map((role) => [role, password()])) as Passwords;
}

const run = (given: Passwords, without?: string) => {
  const variables = roles.map((role) => [`${role.toUpperCase()}_PASSWORD`, given[role]]);
  const env = {
    PATH: process.env.PATH,
    ORDERS_ADMIN_URL: urls.orders,
    CARTS_ADMIN_URL: urls.carts,
    PGPASSWORD: passwords.postgres,
    ...Object.fromEntries(variables.filter(([name]) => name !== without)),
  };
  return promisify(execFile)(script, [], { env });
};

/** The SQLSTATE that a login fails with; undefined: it succeeds. */
async function refusalOf(url: string, role: string, password: string): Promise<string | undefined> {
  const given = new URL(asRole(url, role));
  given.password = encodeURIComponent(password);
  const client = new pg.Client({ connectionString: given.href });
  try {
    await client.connect();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  } finally {
    await client.end();
  }
}

describe('roles-with-passwords.sh', () => {
  it('gives each role its password, and takes over one that has changed', async () => {
    const { stdout } = await run(passwords);
    for (const role of roles) {
      expect(stdout).not.toContain(passwords[role]);
      expect(await refusalOf(urls.orders, role, passwords[role]), role).toBe(undefined);
    }
    const later = { ...newPasswords(), postgres: passwords.postgres };
    await run(later);
    for (const role of roles) {
      expect(await refusalOf(urls.orders, role, passwords[role]), role).toBe(INVALID_PASSWORD);
      expect(await refusalOf(urls.orders, role, later[role]), role).toBe(undefined);
    }
    expect(await refusalOf(urls.carts, 'cart_api', 'any'), 'a role without a password').toBe(INVALID_PASSWORD);
  });

  it.each(roles)('fails without the password of %s, by the name of its variable or role', async (role) => {
    await expect(run(passwords, `${role.toUpperCase()}_PASSWORD`)).rejects.toThrow(/syntax error at or near ":"/);
  });
});
