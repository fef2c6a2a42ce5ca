// The SQL session beside the stream, the slot's creation with its snapshot, and the preflight, on a real orders database.

import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compareCapture, formatVersion1, requireCaptured } from '#schemas/capture-fingerprint.ts';
import { serverOf } from '#service/postgres/database-server.ts';
import { findVisibilityProblems } from '../../../cdc-reader/postgres/capture.ts';
import { createSlot, dropSlot } from '../../../cdc-reader/postgres/slot.ts';
import { readSnapshotOrders, type SnapshotOrder } from '../../../cdc-reader/postgres/snapshot.ts';
import { createSourceSession, type SourceSession } from '../../../cdc-reader/postgres/source-session.ts';
import { findPreflightProblems } from '../../../cdc-reader/startup/preflight.ts';
import { requireSameServer } from '../../../cdc-reader/startup/start-up.ts';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { wantedPostgresMajor } from '../../../dev/servers/server-versions.ts';
import { formatLsn } from '../../../schemas/lsn.ts';
import { decodeTuple, rowOf } from '../../support/examples/decode-tuple.ts';
import {
  connectTo,
  insertItemRow,
  insertOrderRow,
  insertWholeOrder,
  inTransaction,
  migrateTestOrders,
} from '../../support/postgres/order-database.ts';
import { recordStream } from '../../support/postgres/source-stream.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { waitFor } from '../../support/wait.ts';

/** npm installs 18. */
const major = wantedPostgresMajor() ?? 18;
const publicationName = 'tillstream';
const applicationName = 'session-test';

let directory: string;
let postgres: LocalPostgres;
let url: string;
let slotName: string;
let client: pg.Client;
let session: SourceSession;
const ends: Error[] = [];

beforeAll(async () => {
  directory = createTestDirectory('source-session');
  postgres = await createLocalPostgres({ directory, settings: { fsync: 'off', max_replication_slots: '50' } });
  await postgres.start();
});

afterAll(async () => {
  await postgres?.close();
  removeTestDirectory(directory);
});

beforeEach(async () => {
  const id = randomBytes(4).toString('hex');
  slotName = `slot_${id}`;
  await postgres.createDatabase(`session_${id}`);
  url = postgres.url(`session_${id}`);
  await migrateTestOrders(url, publicationName);
  client = await connectTo(url);
  client.on('error', () => undefined);
  ends.length = 0;
  session = await openSession();
});

afterEach(async () => {
  await session.close();
  await client.end();
});

function openSession(databaseUrl = url): Promise<SourceSession> {
  return createSourceSession({ postgres: serverOf(databaseUrl), applicationName, onEnd: (error) => ends.push(error) });
}

async function newSlot() {
  const serverVersion = (await session.preflightFacts({ slotName, publicationName })).serverVersion;
  return createSlot({ postgres: serverOf(url), slotName, applicationName, serverVersion });
}

async function readAllOrders(snapshotName: string, batchSize: number): Promise<SnapshotOrder[][]> {
  const batches: SnapshotOrder[][] = [];
  for await (const batch of readSnapshotOrders({ postgres: serverOf(url), applicationName, snapshotName, batchSize })) {
    batches.push([...batch]);
  }
  return batches;
}

describe('the preflight', () => {
  it('refuses an encoding that is not converted to UTF-8, and takes one that is', async () => {
    expect((await session.preflightFacts({ slotName, publicationName })).encoding).toEqual({
      name: 'UTF8',
      convertsToUtf8: true,
    });
    for (const [encoding, codes] of [
      ['SQL_ASCII', ['DATABASE_ENCODING']],
      ['LATIN1', []],
    ] as const) {
      const name = `${slotName}_${encoding.toLowerCase()}`;
      await client.query(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LOCALE 'C'`);
      await migrateTestOrders(postgres.url(name), publicationName);
      const other = await openSession(postgres.url(name));
      const facts = await other.preflightFacts({ slotName, publicationName });
      const problems = findPreflightProblems(facts, { publicationName, applicationName });
      expect([encoding, problems.map(({ code }) => code)]).toEqual([encoding, codes]);
      await other.close();
    }
  });

  it('is content with what the migrations made, and sees slot and publication', async () => {
    const facts = await session.preflightFacts({ slotName, publicationName });
    expect(findPreflightProblems(facts, { publicationName, applicationName })).toEqual([]);
    expect(facts).toMatchObject({ slotExists: false, walLevel: 'logical', inRecovery: false, mayReplicate: true });
  });

  it('sees a role without privileges, a publication that hides rows and columns, and a missing column', async () => {
    await client.query(`DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$`);
    await client.query(
      major < 15
        ? `CREATE PUBLICATION filtered FOR TABLE orders, order_items WITH (publish = 'insert')`
        : `CREATE PUBLICATION filtered FOR TABLE orders WHERE (source = 'cart'), order_items (order_id, line_no, sku)
           WITH (publish = 'insert')`,
    );
    await client.query('ALTER TABLE orders DROP COLUMN currency');
    const plain = await openSession(postgres.url(new URL(url).pathname.slice(1), 'plain'));
    const facts = await plain.preflightFacts({ slotName, publicationName: 'filtered' });
    await plain.close();
    const problems = findPreflightProblems(facts, { publicationName: 'filtered', applicationName });
    expect(problems.map(({ code }) => code)).toEqual([
      'NO_REPLICATION_PRIVILEGE',
      ...(major < 15 ? [] : ['ROW_FILTER', 'COLUMN_LIST']),
      'COLUMN_MISSING',
      'NO_SELECT_PRIVILEGE',
      'NO_SELECT_PRIVILEGE',
    ]);
    if (major < 15) return;
    expect(problems.find(({ code }) => code === 'COLUMN_LIST')?.problem).toContain(
      'quantity, unit_price_cents, cart_line_id',
    );
  });
});

describe('a capture fingerprint', () => {
  const read = async () => (await session.readCapture(publicationName)).fingerprint;

  it('describes the tables as the migrations make them, and names them by their OIDs', async () => {
    const { fingerprint, visibility } = await session.readCapture(publicationName);
    const { orders, order_items } = fingerprint.tables;
    for (const [table, found] of Object.entries({ orders, order_items })) {
      expect(found, table).toMatchObject({ kind: 'r', persistence: 'p', isPartition: false, children: 0, rules: 0 });
    }
    expect(orders!.columns.placed_at).toEqual([expect.any(Number), 1184]);
    expect(fingerprint.publication!.tables.map(({ of }) => of).toSorted()).toEqual(
      [orders!.oid, order_items!.oid].toSorted(),
    );
    expect(findVisibilityProblems(visibility, session.roleName)).toEqual([]);
    const names = await session.readTableNames([orders!.oid, order_items!.oid, 1]);
    expect([...names]).toEqual([
      [orders!.oid, { schema: 'public', name: 'orders', kind: 'r' }],
      [order_items!.oid, { schema: 'public', name: 'order_items', kind: 'r' }],
    ]);
    expect(compareCapture({ version1: formatVersion1(fingerprint.publication!) }, fingerprint).differences).toEqual([]);
  });

  it('of the publication stays until it is altered, refilled or recreated, and then never comes back', async () => {
    const seen = [await read()];
    await insertWholeOrder(client);
    await client.query('VACUUM FREEZE pg_publication');
    await client.query('VACUUM FREEZE pg_publication_rel');
    await client.query('VACUUM FREEZE pg_type');
    await client.query('VACUUM FREEZE pg_namespace');
    expect(await read()).toEqual(seen[0]);
    for (const change of [
      `ALTER PUBLICATION ${publicationName} SET (publish = 'insert, update')`,
      `ALTER PUBLICATION ${publicationName} SET (publish = 'insert')`,
      `ALTER PUBLICATION ${publicationName} DROP TABLE order_items`,
      `ALTER PUBLICATION ${publicationName} ADD TABLE order_items`,
      ...(major < 15 ? [] : [`CREATE SCHEMA more; ALTER PUBLICATION ${publicationName} ADD TABLES IN SCHEMA more`]),
      `DROP PUBLICATION ${publicationName}; CREATE PUBLICATION ${publicationName} FOR TABLE orders, order_items`,
    ]) {
      await client.query(change);
      const found = await read();
      for (const earlier of seen) {
        const { differences } = compareCapture(earlier, found);
        expect(differences.length, change).toBeGreaterThan(0);
        expect(new Set(differences.map(({ subject }) => subject))).toEqual(new Set(['publication']));
      }
      seen.push(found);
    }
    await client.query(`DROP PUBLICATION ${publicationName}`);
    expect((await read()).publication).toBeNull();
  });
});

describe('a slot', () => {
  it('is created for pgoutput, for failover where there is that (17), and described; and dropped again', async () => {
    expect(await session.readSlot(slotName)).toBeNull();
    const slot = await newSlot();
    expect(await session.readSlot(slotName)).toMatchObject({
      plugin: 'pgoutput',
      database: new URL(url).pathname.slice(1),
      active: false,
      activePid: null,
      confirmedFlushLsn: slot.consistentPoint,
      walStatus: 'reserved',
      invalidationReason: null,
      temporary: false,
      failover: major >= 17,
      synced: false,
    });
    await expect(newSlot()).rejects.toMatchObject({ code: 'SLOT_EXISTS' });
    await slot.close();
    await insertWholeOrder(client);
    expect((await session.readSlot(slotName))!.retainedBytes).toBeGreaterThan(0n);
    await dropSlot({ postgres: serverOf(url), slotName, applicationName });
    expect(await session.readSlot(slotName)).toBeNull();
    await expect(dropSlot({ postgres: serverOf(url), slotName, applicationName })).rejects.toMatchObject({
      code: 'SLOT_MISSING',
    });
  });

  it('in use is not dropped', async () => {
    await (await newSlot()).close();
    const recorded = await recordStream({ url, slotName, publicationName });
    await expect(dropSlot({ postgres: serverOf(url), slotName, applicationName })).rejects.toMatchObject({
      code: 'SLOT_BUSY',
      activePid: (await session.readSlot(slotName))!.activePid,
    });
    await recorded.stream.close();
    await dropSlot({ postgres: serverOf(url), slotName, applicationName });
  });
});

describe('the snapshot', () => {
  it('and the stream behind it have every order once, those committed in between too', async () => {
    const before = [await insertWholeOrder(client), await insertWholeOrder(client)];
    const open = await connectTo(url);
    await open.query('BEGIN');
    const inFlight = await insertOrderRow(open);
    await insertItemRow(open, inFlight);
    const creating = newSlot(); // waits for the transaction that is in flight
    await waitFor('the slot to wait', async () => (await session.readSlot(slotName)) !== null);
    await open.query('COMMIT');
    await open.end();
    const slot = await creating;
    const after = await insertWholeOrder(client);

    const snapshot = (await readAllOrders(slot.snapshotName, 2)).flat().map(({ order }) => order.order_id);
    await slot.close();
    const recorded = await recordStream({ url, slotName, publicationName });
    await recorded.waitForCommits(1);
    const streamed = recorded.messages
      .filter((message) => message.kind === 'insert')
      .map((row) => decodeTuple(rowOf(row), rowOf(row).readUInt16BE(0))[0]);
    await recorded.stream.close();
    expect(snapshot).toEqual([...before, inFlight].sort());
    expect([...new Set(streamed)]).toEqual([after]);
    expect(recorded.commits()[0]!.commitLsn >= slot.consistentPoint, formatLsn(slot.consistentPoint)).toBe(true);
  });

  it('gives the very text that the stream gives, whatever the database is set to', async () => {
    await client.query(`ALTER DATABASE "${new URL(url).pathname.slice(1)}" SET DateStyle = 'SQL, DMY'`);
    await client.query(`ALTER DATABASE "${new URL(url).pathname.slice(1)}" SET TimeZone = 'Asia/Kolkata'`);
    await client.query('ALTER TABLE orders DROP CONSTRAINT orders_currency_form');
    await (await newSlot()).close();
    await inTransaction(client, async () => {
      const orderId = await insertOrderRow(client, {
        currency: 'US',
        total_cents: '9223372036854775807',
        placed_at: '2026-02-03 04:05:06.000007+00',
      });
      await insertItemRow(client, orderId, { line_no: 2, cart_line_id: randomUUID(), unit_price_cents: 0 });
      await insertItemRow(client, orderId, { line_no: 1, quantity: 1_000_000 });
    });
    const recorded = await recordStream({ url, slotName, publicationName });
    await recorded.waitForCommits(1);
    await recorded.stream.close();
    await dropSlot({ postgres: serverOf(url), slotName, applicationName });
    const slot = await newSlot();
    const [[row] = []] = await readAllOrders(slot.snapshotName, 10);
    await slot.close();

    const rows = new Map(recorded.messages.flatMap((m) => (m.kind === 'relation' ? [[m.relationOid, m]] : [])));
    const streamed = recorded.messages.flatMap((message) => {
      if (message.kind !== 'insert') return [];
      const { columns } = rows.get(message.relationOid)!;
      const values = decodeTuple(rowOf(message), columns.length);
      return [Object.fromEntries(columns.map(({ name }, i) => [name, values[i]]))];
    });
    expect(streamed[0]).toMatchObject(row!.order);
    expect(row!.order).toMatchObject({ placed_at: '2026-02-03 04:05:06.000007+00', currency: 'US ' });
    expect(row!.items.map((item) => item.line_no)).toEqual(['1', '2']);
    expect(streamed[1]).toMatchObject(row!.items[1]!);
    expect(streamed[2]).toMatchObject(row!.items[0]!);
  });

  it('comes in batches, by time and then id, and lets go of its connection when left early', async () => {
    await client.query('BEGIN');
    for (let n = 0; n < 25; n++) {
      const placedAt = `2026-01-01 00:00:0${n % 3}+00`;
      await insertItemRow(client, await insertOrderRow(client, { placed_at: placedAt }));
    }
    await client.query('COMMIT');
    const slot = await newSlot();
    const batches = await readAllOrders(slot.snapshotName, 10);
    expect(batches.map((batch) => batch.length)).toEqual([10, 10, 5]);
    const keys = batches.flat().map(({ order }) => `${order.placed_at} ${order.order_id}`);
    expect(keys).toEqual([...keys].sort());
    const { snapshotName } = slot;
    for await (const batch of readSnapshotOrders({
      postgres: serverOf(url),
      applicationName: 'early',
      snapshotName,
      batchSize: 3,
    })) {
      expect(batch).toHaveLength(3);
      break;
    }
    await slot.close();
    await waitFor('the connection to be gone', async () => {
      const { rows } = await client.query("SELECT FROM pg_stat_activity WHERE application_name = 'early'");
      return rows.length === 0;
    });
  });

  it('is one of its own where none is named: what commits after the first batch is not in it', async () => {
    const before = [await insertWholeOrder(client), await insertWholeOrder(client)];
    const orders = readSnapshotOrders({ postgres: serverOf(url), applicationName, batchSize: 1 });
    const read = [(await orders.next()).value!];
    await insertWholeOrder(client);
    for await (const batch of orders) read.push(batch);
    expect(read.flat().map(({ order }) => order.order_id)).toEqual(before.sort());
    expect(read.flat().every(({ items }) => items.length === 1)).toBe(true);
  });

  it('that is gone is an error', async () => {
    const slot = await newSlot();
    await slot.close();
    await expect(readAllOrders(slot.snapshotName, 10)).rejects.toThrow(slot.snapshotName);
  });
});

describe('the session', () => {
  it('tells which orders exist, and where the log ends', async () => {
    const orderId = await insertWholeOrder(client);
    expect(await session.orderExists([orderId, randomUUID()])).toEqual(new Set([orderId]));
    expect(await session.orderExists([])).toEqual(new Set());
    const first = await session.readCurrentWal();
    await insertWholeOrder(client);
    const second = await session.readCurrentWal();
    expect(first).toMatchObject({ timeline: 1, inRecovery: false });
    expect(second.flushLsn).toBeGreaterThan(first.flushLsn);
  });

  it('is told from one to another server than the stream: by the timeline, and by who holds the slot', async () => {
    await (await newSlot()).close();
    const recorded = await recordStream({ url, slotName, publicationName }, { paused: true });
    const { identity } = recorded.stream;
    await requireSameServer(session, identity, slotName);
    const moved = { code: 'SOURCE_MOVED' };
    await expect(requireSameServer(session, { timeline: 2 }, slotName)).rejects.toMatchObject(moved);
    await recorded.stream.close();
    await expect(requireSameServer(session, identity, slotName)).rejects.toMatchObject(moved);
    await expect(requireSameServer(session, identity, 'elsewhere')).rejects.toMatchObject(moved);
  });

  it('fails a read that a policy would shorten, and still tells who the tables are and what its role may not see', async () => {
    const role = `limited_${randomBytes(4).toString('hex')}`;
    await client.query(`CREATE ROLE ${role} LOGIN; GRANT SELECT ON orders, order_items TO ${role}`);
    await client.query('ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY everything ON orders USING (true)');
    const limited = await openSession(postgres.url(new URL(url).pathname.slice(1), role));
    const { fingerprint, visibility } = await limited.readCapture(publicationName);
    expect(compareCapture((await session.readCapture(publicationName)).fingerprint, fingerprint).differences).toEqual(
      [],
    );
    expect(findVisibilityProblems(visibility, role).map(({ code }) => code)).toEqual(['ROW_LEVEL_SECURITY']);
    await expect(limited.orderExists([randomUUID()])).rejects.toThrow('row-level security');
    await limited.close();
  });

  it('takes a role that was renamed for no other privilege, and for no reason why a schema was rewritten', async () => {
    const role = `granted_${randomBytes(4).toString('hex')}`;
    const readCapture = async () => (await session.readCapture(publicationName)).fingerprint;
    await client.query(`CREATE ROLE ${role}; GRANT USAGE ON SCHEMA public TO ${role}`);
    const before = await readCapture();
    await client.query(`ALTER ROLE ${role} RENAME TO ${role}_2`);
    const renamed = await readCapture();
    expect(renamed.schema?.acl).not.toBe(before.schema?.acl);
    expect(compareCapture(before, renamed)).toEqual({ differences: [], warnings: [] });
    await client.query('ALTER SCHEMA public RENAME TO shop');
    const away = compareCapture(before, await readCapture()).differences.map(({ field }) => field);
    expect(away).toEqual(['schema public oid', 'public.orders oid', 'public.order_items oid']);
    await client.query('ALTER SCHEMA shop RENAME TO public');
    const { differences } = compareCapture(before, await readCapture());
    expect(differences.map(({ field }) => field)).toEqual(['schema public xmin']);
    await client.query(`DROP OWNED BY ${role}_2; DROP ROLE ${role}_2`);
  });

  it('keeps to its own time limits, whatever the role brings along', async () => {
    const role = `hasty_${randomBytes(4).toString('hex')}`;
    await client.query(`CREATE ROLE ${role} LOGIN; GRANT SELECT ON orders TO ${role}`);
    await client.query(
      `ALTER ROLE ${role} SET statement_timeout = '150ms'; ALTER ROLE ${role} SET lock_timeout = '150ms'`,
    );
    const hasty = await openSession(postgres.url(new URL(url).pathname.slice(1), role));
    await client.query('BEGIN; LOCK TABLE orders');
    const read = hasty.orderExists([randomUUID()]);
    read.catch(() => undefined);
    await delay(500);
    await client.query('COMMIT');
    expect(await read).toEqual(new Set());
    await hasty.close();
  });

  it('tells who the tables are while others have them locked', async () => {
    await client.query('BEGIN; LOCK TABLE orders, order_items IN ACCESS EXCLUSIVE MODE');
    const { fingerprint } = await session.readCapture(publicationName);
    const { orders, order_items } = requireCaptured(fingerprint);
    expect([orders.oid, order_items.oid]).toEqual([expect.any(Number), expect.any(Number)]);
    expect(order_items.columns).toHaveLength(6);
    await client.query('COMMIT');
  });

  it('holds an advisory lock that no other session gets until it ends', async () => {
    const other = await openSession();
    expect(await session.tryAdvisoryLock('first start')).toBe(true);
    expect(await other.tryAdvisoryLock('first start')).toBe(false);
    expect(await other.tryAdvisoryLock('another')).toBe(true);
    await session.close();
    await waitFor('the lock', () => other.tryAdvisoryLock('first start'));
    await other.close();
    expect(ends).toEqual([]);
  });

  it('tells at once, and once, that a fast shutdown has begun, and fails from then on', async () => {
    await (await newSlot()).close();
    const recorded = await recordStream({ url, slotName, publicationName }, { paused: true });
    const stopping = postgres.stop('fast');
    await waitFor('the end of the session', () => ends.length === 1, { deadlineMs: 1_000 });
    expect(ends[0]).toMatchObject({ code: '57P01' });
    await expect(session.readCurrentWal()).rejects.toMatchObject({ code: 'SESSION_ENDED' });
    expect(recorded.failures, 'the paused stream knows nothing of it').toEqual([]);
    await recorded.stream.close(); // which is what lets Postgres end
    await stopping;
    await postgres.start();
    expect(ends).toHaveLength(1);
  });

  it('that fails a statement ends, rather than going on with another connection', async () => {
    expect(await session.tryAdvisoryLock('kept')).toBe(true);
    await expect(session.orderExists(['not an id'])).rejects.toMatchObject({ code: '22P02' });
    await waitFor('the end', () => ends.length === 1);
    await expect(session.readCurrentWal()).rejects.toMatchObject({ code: 'SESSION_ENDED' });
    const other = await openSession();
    await waitFor('the lock', () => other.tryAdvisoryLock('kept'));
    await other.close();
  });

  it('to a database that is not there can not be opened', async () => {
    await expect(openSession(postgres.url('nowhere'))).rejects.toMatchObject({ code: '3D000' });
    expect(ends).toEqual([]);
  });
});
