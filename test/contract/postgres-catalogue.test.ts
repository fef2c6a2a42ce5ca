// What Postgres's catalogues, locks, row security and stream really do, where the reader's identity check relies on it: what
// leaves a trace in which row, what waits for a lock, what a role is told. `npm run test:postgres-versions` runs this on
// every major version; where one differs, the expectation says so. A test that fails names a promise that no longer holds.
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { parsePgoutput } from '../../cdc-reader/postgres/pgoutput.ts';
import { wantedPostgresMajor } from '../../dev/servers/server-versions.ts';
import { decodeTuple, rowOf } from '../support/examples/decode-tuple.ts';
import { createTestEnvironment, type TestEnvironment, withServer } from '../support/stack/environment.ts';

const version = await withServer(inject('servers').orderServerUrl, (client) => client.query('SHOW server_version_num'));
const major = Math.floor(Number(version.rows[0].server_version_num) / 10_000);

const roleNames = ['plain', 'owner', 'exempt', 'heir', 'superuser'] as const;
type RoleName = (typeof roleNames)[number];

let environment: TestEnvironment;
let db: pg.Client;
/** Object ids of shop.orders, shop and published, as they were made, whatever they are called later. */
let oids: readonly [orders: number, schema: number, publication: number];
const clients: pg.Client[] = [];

async function connect(role?: RoleName): Promise<pg.Client> {
  const url = new URL(environment.env.ORDER_DATABASE_URL);
  if (role !== undefined) url.username = roleOf(role);
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  clients.push(client);
  return client;
}

/** Roles belong to the whole server, which other tests share. */
const roleOf = (name: string) => `${name}_${environment.id}`;

async function row(text: string, parameters: readonly unknown[] = [], client = db): Promise<Record<string, unknown>> {
  return (await client.query(text, [...parameters])).rows[0]!;
}

/** Each statement in a transaction of its own; @plain is the role's name. */
async function run(...statements: string[]): Promise<void> {
  for (const statement of statements) await db.query(statement.replace(/@(\w+)/g, (_, name: string) => roleOf(name)));
}

/** 'done', or the SQLSTATE of its failure. */
async function outcome(text: string, parameters: readonly unknown[] = [], client = db): Promise<string> {
  return client.query(text, [...parameters]).then(
    () => 'done',
    (error) => error.code,
  );
}

beforeAll(async () => {
  environment = await createTestEnvironment('catalogue');
  db = await connect();
  await run('CREATE ROLE @plain LOGIN', 'CREATE ROLE @owner LOGIN', 'CREATE ROLE @exempt LOGIN BYPASSRLS');
  await run('CREATE ROLE @heir LOGIN IN ROLE @exempt', 'CREATE ROLE @superuser LOGIN SUPERUSER');
});

afterAll(async () => {
  await Promise.all(clients.map((client) => client.end()));
  await environment.cleanUp();
  await withServer(environment.servers.orderServerUrl, (client) =>
    client.query(`DROP ROLE IF EXISTS ${roleNames.map(roleOf).join(', ')}`),
  );
});

beforeEach(async () => {
  await run(
    'DROP PUBLICATION IF EXISTS published, renamed',
    'DROP SCHEMA IF EXISTS shop, elsewhere, renamed CASCADE',
    'CREATE SCHEMA shop',
    'CREATE SCHEMA elsewhere',
    'CREATE TABLE shop.orders (id integer PRIMARY KEY, value text, amount integer)',
    'CREATE TABLE shop.others (id integer)',
    "INSERT INTO shop.orders SELECT id, 'some', 1 FROM generate_series(1, 100) AS id",
    "CREATE PUBLICATION published FOR TABLE shop.orders WITH (publish = 'insert')",
    "CREATE FUNCTION shop.pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
  );
  const made = await row(`
    SELECT ARRAY['shop.orders'::regclass::oid, 'shop'::regnamespace::oid, publication.oid]::integer[] AS oids
    FROM pg_publication AS publication WHERE pubname = 'published'`);
  oids = made.oids as typeof oids;
});

it('runs on the version that was asked for', () => {
  expect(major).toBe(wantedPostgresMajor() ?? major);
});

const identity = `
  SELECT type.xmin AS "row type", typowner, typacl::text, relowner, relpersistence, relfilenode,
    namespace.xmin AS schema, nspname, nspowner, nspacl::text, publication.xmin AS publication, pubname, pubowner,
    (SELECT string_agg(oid || '/' || xmin, ',' ORDER BY oid) FROM pg_publication_rel WHERE prpubid = publication.oid) AS members
  FROM pg_class AS class JOIN pg_type AS type ON type.oid = class.reltype, pg_namespace AS namespace,
    pg_publication AS publication
  WHERE class.oid = $1 AND namespace.oid = $2 AND publication.oid = $3`;

/** Names what differs after the statements; those before '=' are run before the comparison begins. */
async function changedBy(statements: readonly string[]): Promise<string[]> {
  const begin = statements.indexOf('=') + 1;
  await run(...statements.slice(0, Math.max(0, begin - 1)));
  const before = await row(identity, oids);
  await run(...statements.slice(begin));
  const after = await row(identity, oids);
  return Object.keys(before).filter((name) => before[name] !== after[name]);
}

/** What is done, what it changes of the above, the statements, and the first version that knows them. */
type Case = readonly [what: string, changed: string, statements: readonly string[], since?: number];

function each(cases: readonly Case[]): void {
  for (const [what, changed, statements, since = 0] of cases) {
    it.skipIf(major < since)(`${what} changes ${changed === '' ? 'nothing' : changed} and nothing else`, async () => {
      expect(await changedBy(statements)).toEqual(changed === '' ? [] : changed.split(', '));
    });
  }
}

const orders = 'ALTER TABLE shop.orders';
const grant = (on: string) => `GRANT USAGE ON ${on} TO @plain`;
const revoke = (on: string) => `REVOKE USAGE ON ${on} FROM @plain`;
const catalogues = ['pg_type', 'pg_class', 'pg_namespace', 'pg_publication', 'pg_publication_rel', 'pg_attribute'];

describe('of what identifies a table, its schema and its publication, with the xmins of their rows,', () => {
  describe('what gives the table another name, schema or owner leaves a trace in its row type:', () => {
    each([
      ['RENAME TO', 'row type', [`${orders} RENAME TO renamed`]],
      ['RENAME TO and back', 'row type', [`${orders} RENAME TO renamed`, 'ALTER TABLE shop.renamed RENAME TO orders']],
      [
        'RENAME TO and back within a transaction',
        'row type',
        [`BEGIN; ${orders} RENAME TO renamed; ALTER TABLE shop.renamed RENAME TO orders; COMMIT`],
      ],
      ['SET SCHEMA', 'row type', [`${orders} SET SCHEMA elsewhere`]],
      [
        'SET SCHEMA and back',
        'row type',
        [`${orders} SET SCHEMA elsewhere`, 'ALTER TABLE elsewhere.orders SET SCHEMA shop'],
      ],
      ['OWNER TO', 'row type, typowner, relowner', [`${orders} OWNER TO @owner`]],
      // The owner stored beside it hides nothing then, and explains nothing.
      ['OWNER TO and back', 'row type', [`${orders} OWNER TO @owner`, `${orders} OWNER TO CURRENT_USER`]],
      ['OWNER TO the same owner', '', [`${orders} OWNER TO CURRENT_USER`]],
      ['SET SCHEMA to the same schema', '', [`${orders} SET SCHEMA shop`]],
      ['GRANT ON TYPE', 'row type, typacl', [grant('TYPE shop.orders')]],
      ['GRANT ON TYPE of what is granted', 'row type', [grant('TYPE shop.orders'), '=', grant('TYPE shop.orders')]],
    ]);

    it.each(['OWNER TO CURRENT_USER', 'RENAME TO renamed', 'SET SCHEMA elsewhere'])(
      'ALTER TYPE … %s is refused for a row type',
      async (action) => {
        expect(await outcome(`ALTER TYPE shop.orders ${action}`)).toBe('42809');
      },
    );
  });

  describe('everyday changes of the table leave none:', () => {
    each([
      ['ADD COLUMN', '', [`${orders} ADD COLUMN extra text`, `${orders} ADD COLUMN more integer DEFAULT 1`]],
      ['a column with a volatile default', 'relfilenode', [`${orders} ADD COLUMN extra float DEFAULT random()`]],
      ['DROP COLUMN', '', [`${orders} DROP COLUMN amount`]],
      [
        'a stored generated column',
        'relfilenode',
        [`${orders} ADD COLUMN two integer GENERATED ALWAYS AS (id * 2) STORED`],
      ],
      ['a virtual generated column', '', [`${orders} ADD COLUMN two integer GENERATED ALWAYS AS (id * 2) VIRTUAL`], 18],
      ['an identity column', 'relfilenode', [`${orders} ADD COLUMN number integer GENERATED ALWAYS AS IDENTITY`]],
      ['integer to bigint', 'relfilenode', [`${orders} ALTER COLUMN id TYPE bigint`]],
      ['text to varchar', '', [`${orders} ALTER COLUMN value TYPE varchar`]],
      ['text to varchar(20)', 'relfilenode', [`${orders} ALTER COLUMN value TYPE varchar(20)`]],
      ['DEFAULT', '', [`${orders} ALTER COLUMN amount SET DEFAULT 1`, `${orders} ALTER COLUMN amount DROP DEFAULT`]],
      ['NOT NULL', '', [`${orders} ALTER COLUMN amount SET NOT NULL`, `${orders} ALTER COLUMN amount DROP NOT NULL`]],
      ['CHECK', '', [`${orders} ADD CONSTRAINT positive CHECK (id > 0)`, `${orders} DROP CONSTRAINT positive`]],
      ['RENAME COLUMN', '', [`${orders} RENAME COLUMN value TO other`, `${orders} RENAME COLUMN other TO value`]],
      ['RENAME CONSTRAINT', '', [`${orders} RENAME CONSTRAINT orders_pkey TO renamed`]],
      ['CREATE STATISTICS', '', ['CREATE STATISTICS shop.both ON id, value FROM shop.orders']],
      [
        'CREATE INDEX',
        '',
        ['CREATE INDEX ON shop.orders (value)', 'CREATE INDEX CONCURRENTLY ON shop.orders (amount)'],
      ],
      ['REINDEX', '', ['REINDEX TABLE shop.orders', 'REINDEX TABLE CONCURRENTLY shop.orders']],
      ['CLUSTER', 'relfilenode', ['CLUSTER shop.orders USING orders_pkey']],
      ['VACUUM FULL', 'relfilenode', ['VACUUM FULL shop.orders']],
      ['TRUNCATE', 'relfilenode', ['TRUNCATE shop.orders']],
      ['VACUUM FREEZE and ANALYZE', '', ['VACUUM FREEZE shop.orders', 'ANALYZE shop.orders']],
      ['VACUUM FULL of the catalogues', '', catalogues.map((name) => `VACUUM FULL pg_catalog.${name}`)],
      ['VACUUM FREEZE of the catalogues', '', catalogues.map((name) => `VACUUM FREEZE pg_catalog.${name}`)],
      ['VACUUM FULL, FREEZE of them', '', catalogues.map((name) => `VACUUM (FULL, FREEZE) pg_catalog.${name}`)],
      ['GRANT on the table', '', ['GRANT SELECT ON shop.orders TO @plain', 'REVOKE SELECT ON shop.orders FROM @plain']],
      [
        'GRANT on a column',
        '',
        ['GRANT SELECT (id) ON shop.orders TO @plain', 'REVOKE ALL (id) ON shop.orders FROM @plain'],
      ],
      [
        'COMMENT',
        '',
        ['TABLE shop.orders', 'COLUMN shop.orders.id', 'TYPE shop.orders'].map(
          (on) => `COMMENT ON ${on} IS 'something'`,
        ),
      ],
      ['a storage parameter', '', [`${orders} SET (fillfactor = 70, autovacuum_enabled = false)`]],
      [
        'a trigger',
        '',
        [
          'CREATE TRIGGER passing BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.pass()',
          ...['DISABLE', 'ENABLE ALWAYS', 'ENABLE'].map((state) => `${orders} ${state} TRIGGER passing`),
          'DROP TRIGGER passing ON shop.orders',
        ],
      ],
      [
        'row security',
        '',
        [
          `${orders} ENABLE ROW LEVEL SECURITY`,
          'CREATE POLICY everything ON shop.orders USING (true)',
          ...['FORCE', 'NO FORCE', 'DISABLE'].map((state) => `${orders} ${state} ROW LEVEL SECURITY`),
        ],
      ],
      ['REPLICA IDENTITY', '', [`${orders} REPLICA IDENTITY FULL`, `${orders} REPLICA IDENTITY DEFAULT`]],
      ['a rule', '', ['CREATE RULE none AS ON UPDATE TO shop.orders DO NOTHING', 'DROP RULE none ON shop.orders']],
      ['a child', '', ['CREATE TABLE shop.child () INHERITS (shop.orders)', 'DROP TABLE shop.child']],
      [
        'becoming a child',
        '',
        [
          'CREATE TABLE shop.parent (id integer NOT NULL)',
          `${orders} INHERIT shop.parent`,
          `${orders} NO INHERIT shop.parent`,
        ],
      ],
      [
        'becoming a partition',
        '',
        [
          'CREATE TABLE shop.parent (id integer NOT NULL, value text, amount integer) PARTITION BY RANGE (id)',
          'ALTER TABLE shop.parent ATTACH PARTITION shop.orders FOR VALUES FROM (0) TO (1000)',
          'ALTER TABLE shop.parent DETACH PARTITION shop.orders',
        ],
      ],
      ['a foreign key to it', '', ['ALTER TABLE shop.others ADD FOREIGN KEY (id) REFERENCES shop.orders']],
    ]);
  });

  describe('the schema’s row keeps renames, and grants that change nothing:', () => {
    const rename = 'ALTER SCHEMA shop RENAME TO renamed';
    const renameBack = 'ALTER SCHEMA renamed RENAME TO shop';
    each([
      ['ALTER SCHEMA RENAME', 'schema, nspname', [rename]],
      ['ALTER SCHEMA RENAME and back', 'schema', [rename, renameBack]],
      ['ALTER SCHEMA RENAME and back within a transaction', 'schema', [`BEGIN; ${rename}; ${renameBack}; COMMIT`]],
      ['GRANT ON SCHEMA', 'schema, nspacl', [grant('SCHEMA shop')]],
      ['REVOKE ON SCHEMA', 'schema, nspacl', [grant('SCHEMA shop'), '=', revoke('SCHEMA shop')]],
      ['the first GRANT and REVOKE', 'schema, nspacl', [grant('SCHEMA shop'), revoke('SCHEMA shop')]],
      // As a rename and back: the ACL beside the xmin can't tell these from it.
      ['GRANT of what is granted', 'schema', [grant('SCHEMA shop'), '=', grant('SCHEMA shop')]],
      [
        'REVOKE of what was not granted',
        'schema',
        [grant('SCHEMA shop'), '=', 'REVOKE ALL ON SCHEMA shop FROM PUBLIC'],
      ],
      [
        'a later GRANT and REVOKE',
        'schema',
        [grant('SCHEMA shop'), revoke('SCHEMA shop'), '=', grant('SCHEMA shop'), revoke('SCHEMA shop')],
      ],
      ['OWNER TO', 'schema, nspowner', ['ALTER SCHEMA shop OWNER TO @owner']],
      ['OWNER TO the same owner', '', ['ALTER SCHEMA shop OWNER TO CURRENT_USER']],
      ['COMMENT ON SCHEMA', '', ["COMMENT ON SCHEMA shop IS 'something'"]],
      [
        'creating and dropping what it holds',
        '',
        ['CREATE TABLE shop.more (id serial)', 'DROP TABLE shop.more', 'CREATE TYPE shop._orders AS (id integer)'],
      ],
      ['ALTER DEFAULT PRIVILEGES', '', ['ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO PUBLIC']],
    ]);

    it('GRANT and REVOKE leave the owner’s own rights written out where there was no ACL, in the order of granting', async () => {
      const acl = async () => (await row('SELECT nspacl::text AS acl FROM pg_namespace WHERE oid = $1', [oids[1]])).acl;
      const [me, one, two] = [(await row('SELECT CURRENT_USER AS name')).name, roleOf('plain'), roleOf('owner')];
      expect(await acl()).toBeNull();
      await run(grant('SCHEMA shop'), revoke('SCHEMA shop'));
      expect(await acl()).toBe(`{${me}=UC/${me}}`);
      await run('GRANT USAGE ON SCHEMA shop TO @plain, @owner');
      expect(await acl()).toBe(`{${me}=UC/${me},${one}=U/${me},${two}=U/${me}}`);
      await run(revoke('SCHEMA shop'), grant('SCHEMA shop'));
      expect(await acl()).toBe(`{${me}=UC/${me},${two}=U/${me},${one}=U/${me}}`);
    });
  });

  describe('the publication’s row keeps what is done to itself, and its members’ rows who they are:', () => {
    const published = 'ALTER PUBLICATION published';
    each([
      ['ALTER PUBLICATION RENAME', 'publication, pubname', [`${published} RENAME TO renamed`]],
      [
        'ALTER PUBLICATION RENAME and back',
        'publication',
        [`${published} RENAME TO renamed`, 'ALTER PUBLICATION renamed RENAME TO published'],
      ],
      ['ALTER PUBLICATION OWNER', 'publication, pubowner', [`${published} OWNER TO @superuser`]],
      ['ALTER PUBLICATION OWNER to the same', '', [`${published} OWNER TO CURRENT_USER`]],
      ['SET (publish = …)', 'publication', [`${published} SET (publish = 'insert, update')`]],
      ['SET (publish = …) as it was', 'publication', [`${published} SET (publish = 'insert')`]],
      ['COMMENT ON PUBLICATION', '', ["COMMENT ON PUBLICATION published IS 'something'"]],
      ['ADD TABLE', 'members', [`${published} ADD TABLE shop.others`]],
      [
        'ADD and DROP TABLE of another',
        '',
        [`${published} ADD TABLE shop.others`, `${published} DROP TABLE shop.others`],
      ],
      ['DROP and ADD TABLE', 'members', [`${published} DROP TABLE shop.orders`, `${published} ADD TABLE shop.orders`]],
      ['SET TABLE as it was', '', [`${published} SET TABLE shop.orders`]],
      ['SET TABLE of more', 'members', [`${published} SET TABLE shop.orders, shop.others`]],
      ['SET TABLE with a filter', 'members', [`${published} SET TABLE shop.orders WHERE (id > 3)`], 15],
      ['SET TABLE with columns', 'members', [`${published} SET TABLE shop.orders (id, value)`], 15],
      ['ADD TABLES IN SCHEMA', '', [`${published} ADD TABLES IN SCHEMA elsewhere`], 15],
      ['another publication', '', ['CREATE PUBLICATION renamed FOR TABLE shop.orders', 'DROP PUBLICATION renamed']],
    ]);

    it('a member’s filter and columns are absent before 15, then null, or a text and an array of numbers', async () => {
      const member = 'SELECT to_jsonb(member) - ARRAY[$1, $2, $3] AS json FROM pg_publication_rel AS member';
      const read = async () => (await row(member, ['oid', 'prpubid', 'prrelid'])).json;
      expect(await read()).toEqual(major < 15 ? {} : { prqual: null, prattrs: null });
      if (major < 15) return;
      await run('ALTER PUBLICATION published SET TABLE shop.orders (id, amount) WHERE (id > 3)');
      expect(await read()).toEqual({ prqual: expect.stringMatching(/^\{OPEXPR /), prattrs: [1, 3] });
    });
  });
});

describe('the flags of pg_class for rules, triggers and children outlive these:', () => {
  it.each([
    ['VACUUM', 'those for rules and triggers', { rules: false, triggers: false, children: true }],
    ['ANALYZE', 'all three', { rules: false, triggers: false, children: false }],
    ['VACUUM FULL', 'none', { rules: true, triggers: true, children: true }],
  ])('%s puts right %s', async (command, _which, expected) => {
    await run(
      'CREATE RULE none AS ON UPDATE TO shop.orders DO NOTHING',
      'DROP RULE none ON shop.orders',
      'CREATE TRIGGER passing BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.pass()',
      'DROP TRIGGER passing ON shop.orders',
      'CREATE TABLE shop.child () INHERITS (shop.orders)',
      'DROP TABLE shop.child',
    );
    const flags = 'relhasrules AS rules, relhastriggers AS triggers, relhassubclass AS children';
    const read = () => row(`SELECT ${flags} FROM pg_class WHERE oid = $1`, [oids[0]]);
    expect(await read()).toEqual({ rules: true, triggers: true, children: true });
    await run(`${command} shop.orders`);
    expect(await read()).toEqual(expected);
  });
});

describe('while another session holds ACCESS EXCLUSIVE on a published table', () => {
  const catalogueOnly = `
    SELECT class.*, type.xmin, namespace.xmin, row_security_active(class.oid), has_table_privilege(class.oid, 'SELECT'),
      has_schema_privilege(namespace.oid, 'USAGE'),
      (SELECT json_agg(json_build_array(attnum, has_column_privilege(attrelid, attnum, 'SELECT'), format_type(atttypid, atttypmod)))
        FROM pg_attribute WHERE attrelid = class.oid AND attnum > 0),
      EXISTS (SELECT FROM pg_inherits WHERE class.oid IN (inhparent, inhrelid)),
      EXISTS (SELECT FROM pg_rewrite WHERE ev_class = class.oid),
      (SELECT json_agg(json_build_array(publication.xmin, member.xmin, to_jsonb(member)))
        FROM pg_publication AS publication JOIN pg_publication_rel AS member ON prpubid = publication.oid)
    FROM pg_class AS class JOIN pg_type AS type ON type.oid = reltype JOIN pg_namespace AS namespace ON namespace.oid = relnamespace
    WHERE class.oid = $1`;
  const allTables = `CREATE PUBLICATION published FOR ALL TABLES`;
  const filtered = `CREATE PUBLICATION published FOR TABLE shop.orders WHERE (id > 3)`;
  const ofColumns = `CREATE PUBLICATION published FOR TABLE shop.orders (id)`;
  const view = (columns: string) => `SELECT ${columns} FROM pg_publication_tables WHERE pubname = 'published'`;

  /** `since`: the first version that waits, and the first that knows the publication. */
  const statements: readonly (readonly [
    what: string,
    text: string,
    since: number | 'never',
    made?: string,
    known?: number,
  ])[] = [
    ['a statement over the catalogues, with privileges by object id,', catalogueOnly, 'never'],
    ['that statement, where the table has a filter,', catalogueOnly, 'never', filtered, 15],
    ['has_table_privilege by name', `SELECT has_table_privilege('shop.orders', 'SELECT')`, 'never'],
    ['regclass of a name', `SELECT 'shop.orders'::regclass`, 'never'],
    ['pg_publication_tables', view('*'), 16],
    ['pg_publication_tables of all tables', view('tablename'), 16, allTables],
    ['pg_publication_tables with the filter', view('*'), 15, filtered, 15],
    ['pg_publication_tables without the filter of a filtered table', view('tablename'), 16, filtered, 15],
    ['pg_publication_tables of a table with a list of columns', view('*'), 'never', ofColumns, 15],
    ['pg_get_expr of a filter', 'SELECT pg_get_expr(prqual, prrelid) FROM pg_publication_rel', 15, filtered, 15],
    ['pg_relation_size', `SELECT pg_relation_size('shop.orders')`, 14],
    ['a SELECT', 'SELECT FROM shop.orders', 14],
  ];
  for (const [what, text, since, made, known = 14] of statements) {
    const waits = since !== 'never' && major >= since;
    it.skipIf(major < known)(
      `${what} ${waits ? 'waits, and fails with 55P03 after lock_timeout' : 'does not wait'}`,
      async () => {
        if (made !== undefined) await run('DROP PUBLICATION published', made);
        const [holder, asking] = [await connect(), await connect()];
        await asking.query('SET lock_timeout = 300');
        for (const taken of ['LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE', `${orders} RENAME TO renamed`]) {
          await holder.query('BEGIN');
          await holder.query(taken);
          expect(await outcome(text, text.includes('$1') ? [oids[0]] : [], asking)).toBe(waits ? '55P03' : 'done');
          await holder.query('ROLLBACK');
        }
      },
    );
  }
});

describe('row security', () => {
  const enable = `${orders} ENABLE ROW LEVEL SECURITY`;
  const policy = 'CREATE POLICY everything ON shop.orders USING (true)';
  const force = `${orders} FORCE ROW LEVEL SECURITY`;
  const cases: readonly (readonly [what: string, role: RoleName, active: boolean, ...statements: string[]])[] = [
    ['a plain role on a table without it', 'plain', false, policy, force],
    ['a plain role without a policy', 'plain', true, enable],
    ['a plain role with a policy for all rows', 'plain', true, enable, policy],
    ['a role with BYPASSRLS', 'exempt', false, enable, force],
    ['a member of a role with BYPASSRLS', 'heir', true, enable],
    ['the owner', 'owner', false, enable],
    ['the owner on whom it is forced', 'owner', true, enable, policy, force],
    ['a member of the owner', 'plain', false, enable, 'GRANT @owner TO @plain'],
    ['a superuser', 'superuser', false, enable, force],
  ];
  for (const [what, role, active, ...statements] of cases) {
    const then = active ? 'is active, and a SELECT that must see everything fails with 42501' : 'is not active';
    it(`for ${what} ${then}`, async () => {
      await run('GRANT USAGE ON SCHEMA shop TO @plain, @exempt, @heir, @owner', `${orders} OWNER TO @owner`);
      await run('GRANT SELECT ON shop.orders TO @plain, @exempt, @heir', ...statements);
      const client = await connect(role);
      for (const setting of ['on', 'off']) {
        await client.query(`SET row_security = ${setting}`);
        expect(await row('SELECT row_security_active($1::oid) AS active', [oids[0]], client)).toEqual({ active });
        const refused = active && setting === 'off';
        expect(await outcome('SELECT id FROM shop.orders', [], client)).toBe(refused ? '42501' : 'done');
      }
      await run('REVOKE @owner FROM @plain');
    });
  }
});

describe('what a role is told', () => {
  const ask = `
    SELECT row_security_active(oid) AS security, has_table_privilege(oid, 'SELECT') AS of_table,
      has_column_privilege(oid, 3::smallint, 'SELECT') AS of_column, has_schema_privilege(oid, 'USAGE') AS of_schema
    FROM (SELECT $1::oid AS oid) AS given`;

  it('about an object that is gone is false and null, but superusers may use any schema since 17', async () => {
    const gone = { security: false, of_table: null, of_column: null, of_schema: null };
    expect(await row(ask, [999_999], await connect('plain'))).toEqual(gone);
    expect(await row(ask, [999_999])).toEqual({ ...gone, of_schema: major < 17 ? null : true });
  });

  it('about a column that was dropped, or never was, is null', async () => {
    await run(`${orders} DROP COLUMN amount`);
    expect(await row(ask, [oids[0]])).toMatchObject({ of_table: true, of_column: null });
  });

  it('about one column is no right to the table, nor to its schema', async () => {
    await run('GRANT SELECT (amount) ON shop.orders TO @plain');
    const client = await connect('plain');
    expect(await row(ask, [oids[0]], client)).toMatchObject({ of_table: false, of_column: true });
    expect(await row(`SELECT has_schema_privilege($1::oid, 'USAGE') AS of_schema`, [oids[1]], client)).toEqual({
      of_schema: false,
    });
  });
});

describe('the persistence of a table', () => {
  const members = ['FOR TABLE shop.orders', 'FOR ALL TABLES', ...(major < 15 ? [] : ['FOR TABLES IN SCHEMA shop'])];
  it.each(members)(
    'is fixed for a table that is published by name, and SET UNLOGGED allowed otherwise: %s',
    async (published) => {
      const expected = published === 'FOR TABLE shop.orders' ? '55000' : 'done';
      await run('DROP PUBLICATION published', `CREATE PUBLICATION published ${published}`);
      expect(await outcome(`${orders} SET UNLOGGED`)).toBe(expected);
    },
  );

  it('changes with SET UNLOGGED and back, and the file both times, of which no xmin tells', async () => {
    await run('DROP PUBLICATION published', 'CREATE PUBLICATION published FOR ALL TABLES');
    oids = [oids[0], oids[1], (await row('SELECT oid FROM pg_publication')).oid as number];
    expect(await changedBy([`${orders} SET UNLOGGED`])).toEqual(['relpersistence', 'relfilenode']);
    expect(await changedBy([`${orders} SET LOGGED`])).toEqual(['relpersistence', 'relfilenode']);
    expect(await changedBy([`${orders} SET UNLOGGED`, `${orders} SET LOGGED`])).toEqual(['relfilenode']);
  });
});

describe('the stream', () => {
  /** The rows of the statements in one decoding session: each one's id, and the name of the relation that it came under. */
  async function streamed(...statements: string[]): Promise<string[]> {
    await db.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, [environment.env.SLOT_NAME]);
    try {
      await run(...statements);
      const options = `'proto_version', '1', 'publication_names', 'published'`;
      const text = `SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, ${options})`;
      const { rows } = await db.query<{ data: Buffer }>(text, [environment.env.SLOT_NAME]);
      const names = new Map<number, string>();
      return rows.flatMap(({ data }) => {
        const message = parsePgoutput(data);
        if (message.kind === 'relation') names.set(message.relationOid, `${message.schema}.${message.name}`);
        if (message.kind !== 'insert') return [];
        const whose = message.relationOid === oids[0] ? '' : ', another table';
        const [id] = decodeTuple(rowOf(message), rowOf(message).readUInt16BE(0));
        return [`${id} of ${names.get(message.relationOid)}${whose}`];
      });
    } finally {
      await db.query('SELECT pg_drop_replication_slot($1)', [environment.env.SLOT_NAME]);
    }
  }
  const insert = (table: string, id: number) => `INSERT INTO ${table} VALUES (${id})`;
  const renamed = 'ALTER TABLE shop.renamed RENAME TO orders';

  it('has no rows that were inserted while the table was unlogged', async () => {
    await run('DROP PUBLICATION published', 'CREATE PUBLICATION published FOR ALL TABLES');
    const unlogged = [`${orders} SET UNLOGGED`, insert('shop.orders', 202), `${orders} SET LOGGED`];
    expect(await streamed(insert('shop.orders', 201), ...unlogged, insert('shop.orders', 203))).toEqual([
      '201 of shop.orders',
      '203 of shop.orders',
    ]);
  });

  it('has no rows of a child that was created after the publication', async () => {
    const child = 'CREATE TABLE shop.child () INHERITS (shop.orders)';
    expect(await streamed(child, insert('shop.child', 201), insert('shop.orders', 202))).toEqual([
      '202 of shop.orders',
    ]);
  });

  it('has the rows of a child that is there when its parent is added, under the child’s own name', async () => {
    await run('CREATE TABLE shop.child () INHERITS (shop.orders)', 'DROP PUBLICATION published');
    await run('CREATE PUBLICATION published FOR TABLE shop.orders');
    expect(await streamed(insert('shop.child', 201))).toEqual(['201 of shop.child, another table']);
  });

  it('names the table as it was called at each row, within a transaction too', async () => {
    const moved = [`${orders} SET SCHEMA elsewhere`, insert('elsewhere.orders', 203)].join(';');
    const statements = [
      insert('shop.orders', 201),
      `${orders} RENAME TO renamed`,
      insert('shop.renamed', 202),
      renamed,
    ];
    const expected = ['201 of shop.orders', '202 of shop.renamed', '203 of elsewhere.orders'];
    expect(await streamed(['BEGIN', ...statements, moved, 'COMMIT'].join(';'))).toEqual(expected);
    await run('DELETE FROM elsewhere.orders', 'ALTER TABLE elsewhere.orders SET SCHEMA shop');
    expect(await streamed(...statements, moved)).toEqual(expected);
  });

  it('has nothing of a table that was swapped in and out again, nor a word of it', async () => {
    const swap = [`${orders} RENAME TO renamed`, 'ALTER TABLE shop.others RENAME TO orders'];
    const back = [`${orders} RENAME TO others`, renamed];
    expect(await streamed(['BEGIN', ...swap, insert('shop.orders', 201), ...back, 'COMMIT'].join(';'))).toEqual([]);
    expect(await streamed(...swap, insert('shop.orders', 202), ...back, insert('shop.orders', 203))).toEqual([
      '203 of shop.orders',
    ]);
  });

  it('has a table swapped in, where all are published, under the name and its own object id', async () => {
    await run('DROP PUBLICATION published', 'CREATE PUBLICATION published FOR ALL TABLES');
    const swap = [`${orders} RENAME TO renamed`, 'ALTER TABLE shop.others RENAME TO orders'];
    expect(await streamed(...swap, insert('shop.orders', 201), insert('shop.renamed', 202))).toEqual([
      '201 of shop.orders, another table',
      '202 of shop.renamed',
    ]);
  });

  it('goes on with the schema’s old name after ALTER SCHEMA RENAME before 16, once it has named the table', async () => {
    const [rename, renameBack] = ['ALTER SCHEMA shop RENAME TO renamed', 'ALTER SCHEMA renamed RENAME TO shop'];
    const [away, home] = [insert('renamed.orders', 202), insert('shop.orders', 203)];
    const cached = major < 16;
    expect(await streamed(insert('shop.orders', 201), rename, away, renameBack, home)).toEqual([
      '201 of shop.orders',
      cached ? '202 of shop.orders' : '202 of renamed.orders',
      '203 of shop.orders',
    ]);
    await run('DELETE FROM shop.orders');
    // Both ways: a table first met under the other name keeps that, until anything else is done to it.
    const analysed = ['ANALYZE shop.orders', insert('shop.orders', 204)];
    expect(await streamed(rename, away, renameBack, home, ...analysed)).toEqual([
      '202 of renamed.orders',
      cached ? '203 of renamed.orders' : '203 of shop.orders',
      '204 of shop.orders',
    ]);
  });

  describe('of a table attached as a partition', () => {
    const attach = 'ALTER TABLE shop.parent ATTACH PARTITION shop.orders FOR VALUES FROM (0) TO (1000)';
    const detach = 'ALTER TABLE shop.parent DETACH PARTITION shop.orders';
    const attached = [attach, insert('shop.orders', 202), insert('shop.parent', 203)];
    const own = ['202 of shop.orders', '203 of shop.orders'];
    const parents = ['202 of shop.parent, another table', '203 of shop.parent, another table'];
    const publish = async (members: string, viaRoot: boolean) => {
      await run('CREATE TABLE shop.parent (id integer NOT NULL, value text, amount integer) PARTITION BY RANGE (id)');
      const options = `publish = 'insert', publish_via_partition_root = ${viaRoot}`;
      await run('DROP PUBLICATION published', `CREATE PUBLICATION published ${members} WITH (${options})`);
    };

    it.each(['FOR TABLE shop.orders, shop.parent', 'FOR TABLE shop.parent', 'FOR ALL TABLES'])(
      '%s, with publish_via_partition_root, has the rows under its parent’s name and object id',
      async (members) => {
        await publish(members, true);
        expect(await streamed(...attached)).toEqual(parents);
      },
    );

    it('has them under its own name before 15 all the same, once it has named the table', async () => {
      await publish('FOR TABLE shop.orders, shop.parent', true);
      const before = insert('shop.orders', 201);
      expect(await streamed(before, ...attached)).toEqual(['201 of shop.orders', ...(major < 15 ? own : parents)]);
    });

    it('has none of them before 15, once it has passed over a row of the table when it was not published', async () => {
      await publish('FOR TABLE shop.parent', false);
      expect(await streamed(insert('shop.orders', 201), ...attached)).toEqual(major < 15 ? [] : own);
    });

    it('goes on with the parent’s name after DETACH before 15', async () => {
      await publish('FOR TABLE shop.orders, shop.parent', true);
      const last = major < 15 ? '204 of shop.parent, another table' : '204 of shop.orders';
      expect(await streamed(...attached, detach, insert('shop.orders', 204))).toEqual([...parents, last]);
    });

    it.each([
      ['FOR TABLE shop.orders', true],
      ['FOR TABLE shop.orders, shop.parent', false],
    ])('%s, with publish_via_partition_root = %s, has the rows under its own name', async (members, viaRoot) => {
      await publish(members, viaRoot);
      expect(await streamed(insert('shop.orders', 201), ...attached)).toEqual(['201 of shop.orders', ...own]);
    });
  });
});
