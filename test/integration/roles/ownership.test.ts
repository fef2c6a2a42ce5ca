// ops/postgres/roles.sql in a deployment that runs: whoever owned the tables until then, reader and writers go on.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { wantedPostgresMajor } from '../../../dev/servers/server-versions.ts';
import { createOrderLoad } from '../../support/load/order-load.ts';
import { assertClean } from '../../support/oracle/oracle.ts';
import { migrateTestOrders } from '../../support/postgres/order-database.ts';
import { applyRoles, asRole, type RoleServer, startRoleServer } from '../../support/postgres/role-servers.ts';
import { createTestEnvironment, type TestEnvironment, withServer } from '../../support/stack/environment.ts';
import { createEnvironmentOracle } from '../../support/stack/pipeline-stage.ts';
import { startReader } from '../../support/stack/start-services.ts';

/** Everything in a database that has an owner or grants, in the form of the catalogue, with the row versions. */
const catalogue = `
  SELECT 'relation' AS kind, relname AS name, relowner::regrole::text AS owner, relacl::text AS acl, NULL AS xmin
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT 'function', proname, proowner::regrole::text, proacl::text, xmin::text
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace OR proname = 'pg_log_standby_snapshot'
  UNION ALL SELECT 'type', typname, typowner::regrole::text, typacl::text, xmin::text
    FROM pg_type WHERE typnamespace = 'public'::regnamespace
  UNION ALL SELECT 'publication', pubname, pubowner::regrole::text, NULL, xmin::text FROM pg_publication
  UNION ALL SELECT 'schema', nspname, nspowner::regrole::text, nspacl::text, xmin::text
    FROM pg_namespace WHERE nspname = 'public'
  UNION ALL SELECT 'database', datname, NULL, datacl::text, xmin::text FROM pg_database WHERE datname = current_database()
  UNION ALL SELECT 'role', rolname, rolreplication::text, rolsuper::text, NULL FROM pg_roles
  UNION ALL SELECT 'member', roleid::regrole::text, member::regrole::text, NULL, xmin::text FROM pg_auth_members
  ORDER BY 1, 2, 3`;

let server: RoleServer;
let environment: TestEnvironment;
let ordersUrl: string;
beforeAll(async () => {
  server = await startRoleServer('ownership');
});
afterAll(() => server?.close());
beforeEach(async () => {
  environment = await createTestEnvironment('ownership', server.servers);
  ordersUrl = environment.env.ORDER_DATABASE_URL;
});
afterEach(() => environment?.cleanUp());

const query = async (text: string) => (await withServer(ordersUrl, (client) => client.query(text))).rows;
const apply = () => applyRoles(ordersUrl, environment.env.PUBLICATION_NAME);

describe.each(['postgres', 'shop'])('in a deployment of the role %s', (owner) => {
  beforeEach(async () => {
    await query(`DO $$ BEGIN IF to_regrole('shop') IS NULL THEN CREATE ROLE shop LOGIN REPLICATION; END IF; END $$`);
    await query(`ALTER DATABASE orders_${environment.id} OWNER TO ${owner}`);
    await query(`GRANT CREATE ON SCHEMA public TO ${owner}`);
    await migrateTestOrders(asRole(ordersUrl, owner), environment.env.PUBLICATION_NAME);
  });

  it('everything goes to migrator while orders flow, without a halt or a restart of the reader', async () => {
    const asOwner = { ORDER_DATABASE_URL: asRole(ordersUrl, owner) };
    const oracle = createEnvironmentOracle(environment, { carts: false });
    const reader = await startReader(environment, { more: asOwner });
    await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
    const orders = await environment.startService('order-api', asOwner);
    await orders.waitReady();
    const load = await createOrderLoad({ ordersUrl });
    let placed = 0;
    let isOver = false;
    const traffic = (async () => {
      for (; !isOver; placed += 1) await load.place(placed);
    })();
    const streaming = reader.logs.length;

    const notices = await apply();
    await reader.waitForLog('reader.capture-changed', { deadlineMs: 30_000 });
    const before = placed;
    // Again while it runs: nothing is granted again that a reader would take for a rename and back.
    for (let round = 0; round < 3; round += 1) expect(await apply()).toEqual([]);
    expect(notices.some((text) => text.includes('REVOKE ALL ON public.orders'))).toBe(owner === 'shop');

    const answer = await fetch(`${orders.url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ userId: 'ada', items: [{ sku: 'tea', quantity: 1, unitPriceCents: 499 }] }),
    });
    expect(answer.status).toBe(201);
    isOver = true;
    await traffic;
    expect(placed).toBeGreaterThan(before);
    await oracle.waitUntilDrained(30_000);
    assertClean(await oracle.check());
    const events = reader.logs.slice(streaming).map(({ event }) => event);
    for (const event of ['reader.streaming', 'reader.restarting', 'pipeline.halted'])
      expect(events).not.toContain(event);

    // The role of its own takes over from where the other one stopped.
    await reader.stop();
    const successor = await startReader(environment, { more: { ORDER_DATABASE_URL: asRole(ordersUrl, 'reader') } });
    await successor.waitForLog('reader.streaming', { deadlineMs: 60_000 });
    await load.place(placed);
    await oracle.waitUntilDrained(30_000);
    assertClean(await oracle.check());
    await load.close();
  });

  it('leaves nothing in public to another owner, and changes nothing the second time', async () => {
    await apply();
    const first = await query(catalogue);
    const strangers = first.filter(
      ({ kind, owner: found }) => /relation|function|type|publication/.test(kind) && found !== 'migrator',
    );
    const known = (wantedPostgresMajor() ?? 18) < 16 ? [] : ['pg_log_standby_snapshot'];
    expect(strangers.map(({ name }) => name)).toEqual(known);
    await apply();
    expect(await query(catalogue)).toEqual(first);
  });
});

it('leaves the publication alone where it is told to, and moves it later', async () => {
  await migrateTestOrders(ordersUrl, environment.env.PUBLICATION_NAME);
  const rows = () => query('SELECT pubowner::regrole::text AS owner, xmin::text FROM pg_publication');
  const before = await rows();
  await applyRoles(ordersUrl, environment.env.PUBLICATION_NAME, { keepPublication: true });
  expect(await rows()).toEqual(before);
  expect(await query(`SELECT tableowner AS owner FROM pg_tables WHERE tablename = 'orders'`)).toEqual([
    { owner: 'migrator' },
  ]);
  await apply();
  expect(await rows()).toMatchObject([{ owner: 'migrator' }]);
});

it('leaves a publication for all tables, which a superuser must own, and those of others, as they are', async () => {
  await migrateTestOrders(ordersUrl, environment.env.PUBLICATION_NAME);
  await query(`DROP PUBLICATION ${environment.env.PUBLICATION_NAME}`);
  await query(`CREATE PUBLICATION ${environment.env.PUBLICATION_NAME} FOR ALL TABLES WITH (publish = 'insert')`);
  await query('CREATE PUBLICATION others FOR TABLE orders');
  await apply();
  const owners = await query('SELECT DISTINCT pubowner::regrole::text AS owner FROM pg_publication');
  expect(owners).toEqual([{ owner: 'postgres' }]);
});

it('grants replication by the role that managed servers have for it', async () => {
  await query('CREATE ROLE rds_replication; DROP ROLE IF EXISTS reader');
  await apply();
  expect(
    await query(`SELECT rolreplication, pg_has_role('reader', 'rds_replication', 'MEMBER') AS is_member
    FROM pg_roles WHERE rolname = 'reader'`),
  ).toEqual([{ rolreplication: false, is_member: true }]);
});
