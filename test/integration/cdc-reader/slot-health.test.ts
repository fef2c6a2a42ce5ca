// The health of slots as real servers report it: of a slot that is within its limit, and of one that its limit has ended.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serverOf } from '#service/postgres/database-server.ts';
import { readSlotsHealth } from '../../../cdc-reader/postgres/slots/slot-health.ts';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { withServer } from '../../support/stack/environment.ts';
import { waitFor } from '../../support/wait.ts';

const megabyte = 1024 * 1024;
let directory: string;
let postgres: LocalPostgres;

beforeAll(async () => {
  directory = createTestDirectory('slot-health');
  const settings = { fsync: 'off', max_slot_wal_keep_size: '32MB', min_wal_size: '32MB', max_wal_size: '64MB' };
  postgres = await createLocalPostgres({ directory, settings });
  await postgres.start();
});

afterAll(async () => {
  await postgres?.close();
  removeTestDirectory(directory);
});

const sql = (text: string) => withServer(postgres.url('postgres'), (client) => client.query(text));
const read = () =>
  readSlotsHealth({
    postgres: serverOf(postgres.url('postgres')),
    applicationName: 'health-test',
    slotNames: ['health_live', 'health_window'],
  });

describe('the health of slots', () => {
  it('has the settings of the server and the age of the database where there is no slot', async () => {
    const health = await read();
    expect(health).toMatchObject({ slots: new Map(), maxKeepBytes: BigInt(32 * megabyte) });
    expect(health.frozenXidAge).toBeGreaterThan(0);
  });

  it('follows a slot from reserved to lost, and leaves no session', async () => {
    await sql(`SELECT pg_create_logical_replication_slot('health_live', 'pgoutput')`);
    const live = async () => (await read()).slots.get('health_live')!;
    const before = await live();
    expect(before).toMatchObject({ walStatus: 'reserved', invalidationReason: null });
    expect(before.safeBytes).toBeGreaterThan(0n);
    expect(before.catalogXminAge).toBeGreaterThanOrEqual(0);

    const writeWal = () => sql(`SELECT pg_logical_emit_message(false, 'noise', repeat('x', ${8 * megabyte}))`);
    await writeWal();
    await waitFor('its WAL to be flushed', async () => (await live()).retainedBytes! > BigInt(8 * megabyte));
    for (let more = 0; more < 12; more++) await writeWal();
    await sql('SELECT pg_switch_wal()');
    await sql('CHECKPOINT');
    await waitFor('the slot to be lost', async () => (await live()).walStatus === 'lost');
    expect(await live()).toMatchObject({ safeBytes: null });

    await waitFor('its sessions to end', async () => {
      const { rows } = await sql(`SELECT FROM pg_stat_activity WHERE application_name = 'health-test'`);
      return rows.length === 0;
    });
  });
});
