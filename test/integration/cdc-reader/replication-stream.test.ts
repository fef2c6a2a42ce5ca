// The replication stream against a Postgres of its own, which is restarted, shut down and starved on purpose.
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { timelineOf } from '#schemas/timeline.ts';
import { createLocalPostgres, type LocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { formatLsn, LSN_ZERO, type Lsn } from '../../../schemas/lsn.ts';
import { decodeTuple, rowOf } from '../../support/examples/decode-tuple.ts';
import { createTcpProxy } from '../../support/network/tcp-proxy.ts';
import {
  commitAdjacent,
  createSourceDatabase,
  recordStream,
  type SourceDatabase,
} from '../../support/postgres/source-stream.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { waitFor } from '../../support/wait.ts';

let directory: string;
let postgres: LocalPostgres;
let source: SourceDatabase;
let database: string;

beforeAll(async () => {
  directory = createTestDirectory('replication-stream');
  postgres = await createLocalPostgres({ directory, settings: { fsync: 'off', max_replication_slots: '50' } });
  await postgres.start();
});

afterAll(async () => {
  await postgres?.close();
  removeTestDirectory(directory);
});

beforeEach(async () => {
  const id = randomBytes(4).toString('hex');
  database = `stream_${id}`;
  await postgres.createDatabase(database);
  source = await createSourceDatabase(postgres.url(database), id);
});

afterEach(() => source?.close());

/** Confirms every keepalive's end, as an idle reader does. */
const acknowledgeKeepalives = {
  onKeepalive: ({ walEnd }: { walEnd: Lsn }, stream: { acknowledge(throughLsn: Lsn): void }) =>
    stream.acknowledge(walEnd),
};

async function readSlot(): Promise<{ active: boolean; pid: number | null }> {
  const { rows } = await source.client.query(
    'SELECT active, active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1',
    [source.slotName],
  );
  return rows[0] as { active: boolean; pid: number | null };
}

describe('what the stream hands over', () => {
  it('comes in order, with BEGIN and COMMIT around the rows of each transaction', async () => {
    const recorded = await recordStream(source);
    await source.insert('one');
    await source.insert('two');
    const [first, second] = await recorded.waitForCommits(2);
    expect(recorded.messages.map(({ kind }) => kind)).toEqual([
      'begin',
      'relation',
      'insert',
      'commit',
      'begin',
      'insert',
      'commit',
    ]);
    expect(recorded.values()).toEqual(['one', 'two']);
    const [begin] = recorded.messages;
    expect(begin).toMatchObject({ kind: 'begin', commitLsn: first!.commitLsn, committedAt: first!.committedAt });
    expect(first!.endLsn).toBeGreaterThan(first!.commitLsn);
    expect(second!.commitLsn).toBeGreaterThanOrEqual(first!.endLsn);
    expect(Math.abs(Number(first!.committedAt / 1000n) - Date.now())).toBeLessThan(60_000);
    await recorded.stream.close();
    expect(recorded.failures).toEqual([]);
  });

  it('is nothing before the first resume, and nothing more from the moment of a pause inside a handler', async () => {
    await source.client.query("INSERT INTO facts (value) SELECT 'v' || n FROM generate_series(1, 5000) AS n");
    let rows = 0;
    const recorded = await recordStream(source, {
      paused: true,
      onMessage: (message, stream) => {
        if (message.kind === 'insert' && ++rows === 10) stream.pause();
      },
    });
    await delay(300);
    expect(recorded.messages).toEqual([]);
    recorded.stream.resume();
    await waitFor('ten rows', () => rows >= 10);
    await delay(100);
    expect(recorded.values()).toHaveLength(10);
    recorded.stream.resume();
    await recorded.waitForCommits(1);
    expect(recorded.values()).toEqual(Array.from({ length: 5000 }, (_, i) => `v${i + 1}`));
    await recorded.stream.close();
  });

  it('holds rows that stay as they are while the socket goes on reading', async () => {
    const length = (n: number) => (n * 37) % 900;
    await source.client.query(
      'INSERT INTO facts (value) SELECT repeat(chr(97 + n % 26), (n * 37) % 900) FROM generate_series(1, 30000) AS n',
    );
    const recorded = await recordStream(source);
    await recorded.waitForCommits(1);
    const rows = recorded.messages.filter((message) => message.kind === 'insert');
    const changed = rows.filter((row, i) => {
      const value = decodeTuple(rowOf(row), 2)[1];
      return value !== String.fromCharCode(97 + ((i + 1) % 26)).repeat(length(i + 1));
    });
    expect(rows).toHaveLength(30_000);
    expect(changed).toHaveLength(0);
    await recorded.stream.close();
  });

  it('has one text form, whatever the database is set to', async () => {
    await source.client.query(`ALTER DATABASE ${database} SET DateStyle = 'SQL, DMY'`);
    await source.client.query(`ALTER DATABASE ${database} SET TimeZone = 'Asia/Kolkata'`);
    await source.client.query('CREATE TABLE moments (id int PRIMARY KEY, at timestamptz, currency char(3))');
    await source.client.query(`ALTER PUBLICATION ${source.publicationName} ADD TABLE moments`);
    await source.client.query("INSERT INTO moments VALUES (1, '2026-02-03 04:05:06.000007+00', 'US')");
    const recorded = await recordStream(source);
    await recorded.waitForCommits(1);
    const [row] = recorded.messages.filter((message) => message.kind === 'insert');
    expect(decodeTuple(rowOf(row!), 3)).toEqual(['1', '2026-02-03 04:05:06.000007+00', 'US ']);
    await recorded.stream.close();
  });

  it('comes from a publication whose name has quotes, commas, spaces and capitals', async () => {
    const publicationName = `Odd "name", it's`;
    await source.client.query(`CREATE PUBLICATION "Odd ""name"", it's" FOR TABLE facts`);
    await source.insert('odd');
    const recorded = await recordStream({ ...source, publicationName });
    await recorded.waitForCommits(1);
    expect(recorded.values()).toEqual(['odd']);
    await recorded.stream.close();
  });
});

describe('an acknowledgement', () => {
  it('confirms exactly the position it was given, and statuses before the first one confirm nothing', async () => {
    const before = await source.confirmedFlushLsn();
    const recorded = await recordStream(source, { walSenderTimeoutMs: 1_000 });
    await source.insert('one');
    const [commit] = await recorded.waitForCommits(1);
    await delay(700); // two heartbeats
    expect(recorded.stream.acknowledgedLsn).toBe(LSN_ZERO);
    expect(formatLsn(await source.confirmedFlushLsn())).toBe(formatLsn(before));
    recorded.stream.acknowledge(commit!.endLsn);
    await waitFor('the confirmation', async () => (await source.confirmedFlushLsn()) !== before);
    expect(formatLsn(await source.confirmedFlushLsn())).toBe(formatLsn(commit!.endLsn));
    expect(() => recorded.stream.acknowledge(commit!.commitLsn)).toThrow(RangeError);
    await recorded.stream.close();
    expect(formatLsn(await source.confirmedFlushLsn())).toBe(formatLsn(commit!.endLsn));
  });

  it('of one transaction leaves the one whose commit record starts right behind it', async () => {
    const recorded = await recordStream(source);
    await commitAdjacent(source.url, 'first', 'second');
    const [first, second] = await recorded.waitForCommits(2);
    expect(formatLsn(second!.commitLsn), 'the commits are adjacent').toBe(formatLsn(first!.endLsn));
    recorded.stream.acknowledge(first!.endLsn);
    await recorded.stream.close();
    const again = await recordStream(source);
    await again.waitForCommits(1);
    expect(again.values()).toEqual(['second']);
    await again.stream.close();
  });

  it('given right before close() has arrived, and the slot is free, when close() returns', async () => {
    for (let round = 0; round < 5; round++) {
      const recorded = await recordStream(source);
      await source.insert(`round ${round}`);
      const [commit] = await recorded.waitForCommits(1);
      recorded.stream.acknowledge(commit!.endLsn);
      await recorded.stream.close();
      expect(formatLsn(await source.confirmedFlushLsn())).toBe(formatLsn(commit!.endLsn));
      expect(await readSlot()).toEqual({ active: false, pid: null });
    }
  });
});

describe('a paused stream', () => {
  it('outlives wal_sender_timeout many times over with a backlog in front of it, and then delivers all of it', async () => {
    const recorded = await recordStream(source, { paused: true, walSenderTimeoutMs: 1_000 });
    const { pid } = await readSlot();
    await source.client.query(
      "INSERT INTO facts (value) SELECT repeat('x', 1000) || n FROM generate_series(1, 30000) AS n",
    );
    await delay(5_000);
    expect(recorded.failures).toEqual([]);
    expect(await readSlot()).toEqual({ active: true, pid });
    const { rows } = await source.client.query(
      'SELECT sent_lsn < pg_current_wal_flush_lsn() AS is_blocked FROM pg_stat_replication WHERE pid = $1',
      [pid],
    );
    expect(rows[0], 'nothing is read into memory meanwhile').toEqual({ is_blocked: true });
    expect(recorded.messages).toEqual([]);
    recorded.stream.resume();
    await recorded.waitForCommits(1);
    expect(recorded.values()).toHaveLength(30_000);
    await recorded.stream.close();
  });

  it('is closed within a second or so although its backlog was never read', async () => {
    const recorded = await recordStream(source, { paused: true });
    await source.client.query("INSERT INTO facts (value) SELECT repeat('x', 1000) FROM generate_series(1, 100000)");
    const startedMs = performance.now();
    await recorded.stream.close();
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    expect(recorded.messages).toEqual([]);
    await waitFor('the slot to be free', async () => !(await readSlot()).active);
  });
});

describe('a fast shutdown of Postgres', () => {
  it('is over in well under a second when the end of the log is acknowledged exactly', async () => {
    const recorded = await recordStream(source, acknowledgeKeepalives);
    await source.insert('one');
    const [commit] = await recorded.waitForCommits(1);
    recorded.stream.acknowledge(commit!.endLsn);
    const startedMs = performance.now();
    await postgres.stop('fast');
    const tookMs = performance.now() - startedMs;
    expect(await recorded.waitForFailure()).toMatchObject({ code: 'SERVER_SHUTTING_DOWN' });
    await postgres.start();
    expect(tookMs).toBeLessThan(1_000);
    expect(recorded.failures).toHaveLength(1);
    expect(recorded.keepalives.length).toBeLessThan(50); // no ping-pong
  });

  it('takes one to two seconds when it can not be acknowledged', async () => {
    const recorded = await recordStream(source);
    await source.insert('one');
    await recorded.waitForCommits(1);
    const startedMs = performance.now();
    await postgres.stop('fast');
    const tookMs = performance.now() - startedMs;
    await postgres.start();
    expect(await recorded.waitForFailure()).toMatchObject({ code: 'SERVER_SHUTTING_DOWN' });
    expect(recorded.failures).toHaveLength(1);
    expect(tookMs).toBeGreaterThan(900);
    expect(tookMs).toBeLessThan(3_000);
  });

  it('is not mistaken for the requests of a healthy server that hears nothing new for long', async () => {
    const recorded = await recordStream(source, { walSenderTimeoutMs: 400 });
    await source.insert('never acknowledged');
    await recorded.waitForCommits(1);
    await delay(4_000);
    expect(recorded.failures).toEqual([]);
    await recorded.stream.close();
  });
});

describe('the slot', () => {
  it('is refused while another reader has it, naming the process, and free once that one has closed', async () => {
    const first = await recordStream(source);
    const { pid } = await readSlot();
    await expect(recordStream(source)).rejects.toMatchObject({ code: 'SLOT_BUSY', activePid: pid });
    expect(first.failures).toEqual([]);
    await first.stream.close();
    const second = await recordStream(source);
    await second.stream.close();
  });

  it('that does not exist is said to be missing, and one that can not exist is refused', async () => {
    await expect(recordStream({ ...source, slotName: 'missing' })).rejects.toMatchObject({ code: 'SLOT_MISSING' });
    const slotName = `no" LOGICAL 0/0 (proto_version '1'`;
    await expect(recordStream({ ...source, slotName })).rejects.toThrow(RangeError);
  });

  it('that Postgres invalidated is said to be lost', async () => {
    await postgres.restart('fast', { settings: { max_slot_wal_keep_size: '1MB', max_wal_size: '32MB' } });
    await source.reconnect();
    for (let segment = 0; segment < 6; segment++) {
      await source.insert('filler');
      await source.client.query('SELECT pg_switch_wal()');
    }
    await source.client.query('CHECKPOINT');
    await expect(recordStream(source)).rejects.toMatchObject({
      code: 'SLOT_LOST',
      message: expect.stringContaining('ALTER SYSTEM SET max_slot_wal_keep_size'),
      details: { reason: 'wal_removed', throughLsn: expect.stringMatching(/^\w+\/\w+$/) },
    });
    await postgres.restart();
  });

  it('goes to a successor when its reader was stopped for longer than the timeout, which then fails once', async () => {
    const zombie = await recordStream(source, { walSenderTimeoutMs: 1_000 });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500); // as SIGSTOP would: no timer, no read
    await zombie.waitForFailure();
    const successor = await recordStream(source);
    await source.insert('for the successor');
    await successor.waitForCommits(1);
    expect(zombie.messages).toEqual([]);
    expect(zombie.failures).toHaveLength(1);
    zombie.stream.acknowledge(successor.commits()[0]!.endLsn); // says nothing to anybody
    await zombie.stream.close();
    await successor.stream.close();
  });
});

describe('a temporary copy of the slot', () => {
  const copySlot = (name: string) => ({ ...source, slotName: `${source.slotName}_${name}` });
  const slots = async () => (await source.client.query('SELECT slot_name FROM pg_replication_slots')).rows.length;

  it('delivers all that the slot would, to any number of readers, also at once, and leaves the slot where it was', async () => {
    await source.insert('one');
    await source.insert('two');
    const before = await source.confirmedFlushLsn();
    const slotsBefore = await slots();
    const both = await Promise.all(['a', 'b'].map((n) => recordStream(copySlot(n), { copyOf: source.slotName })));
    for (const copy of both) {
      const commits = await copy.waitForCommits(2);
      copy.stream.acknowledge(commits[1]!.endLsn);
    }
    expect(both.map((copy) => copy.values())).toEqual([
      ['one', 'two'],
      ['one', 'two'],
    ]);
    expect(await slots()).toBe(slotsBefore + 2);
    expect(both[0]!.commits()[0]!.commitLsn).toBeGreaterThanOrEqual(before);
    await Promise.all(both.map(({ stream }) => stream.close()));
    expect(await source.confirmedFlushLsn()).toBe(before);
    await waitFor('the copies to be gone', async () => (await slots()) === slotsBefore);

    const again = await recordStream(copySlot('a'), { copyOf: source.slotName });
    await again.waitForCommits(2);
    expect(again.values()).toEqual(['one', 'two']);
    await again.stream.close();
  });

  it('begins with the transaction that commits right where the slot stands', async () => {
    await commitAdjacent(source.url, 'before', 'at');
    const first = await recordStream(source);
    const [before, at] = await first.waitForCommits(2);
    first.stream.acknowledge(before!.endLsn);
    await first.stream.close();
    expect(await source.confirmedFlushLsn()).toBe(at!.commitLsn);
    const copy = await recordStream(copySlot('a'), { copyOf: source.slotName });
    await copy.waitForCommits(1);
    expect(copy.values()).toEqual(['at']);
    expect(copy.commits()).toEqual([at]);
    await copy.stream.close();
  });

  it('can be made of a slot that is in use', async () => {
    const live = await recordStream(source);
    const copy = await recordStream(copySlot('a'), { copyOf: source.slotName });
    await source.insert('one');
    await Promise.all([live.waitForCommits(1), copy.waitForCommits(1)]);
    expect([live.values(), copy.values()]).toEqual([['one'], ['one']]);
    await Promise.all([live.stream.close(), copy.stream.close()]);
  });

  it('is refused by name where there is no such slot, or none that can be read any more', async () => {
    await expect(recordStream(copySlot('a'), { copyOf: 'missing' })).rejects.toMatchObject({
      code: 'SLOT_COPY_MISSING',
      message: expect.stringContaining('missing'),
    });
    await postgres.restart('fast', { settings: { max_slot_wal_keep_size: '1MB', max_wal_size: '32MB' } });
    await source.reconnect();
    for (let segment = 0; segment < 6; segment++) {
      await source.insert('filler');
      await source.client.query('SELECT pg_switch_wal()');
    }
    await source.client.query('CHECKPOINT');
    const lost = recordStream(copySlot('a'), { copyOf: source.slotName });
    await expect(lost).rejects.toMatchObject({ code: 'SLOT_COPY_LOST' });
    await postgres.restart();
  });
});

describe('a stream that ends', () => {
  it('with an error thrown by a handler fails with that error, once, and hands over nothing more', async () => {
    const recorded = await recordStream(source, {
      onMessage: (message) => {
        if (message.kind === 'insert') throw new Error('the handler broke');
      },
    });
    await source.insert('one');
    await source.insert('two');
    expect(await recorded.waitForFailure()).toMatchObject({ message: 'the handler broke' });
    await delay(200);
    expect(recorded.messages.at(-1)).toMatchObject({ kind: 'insert' });
    expect(recorded.failures).toHaveLength(1);
    await waitFor('the slot to be free', async () => !(await readSlot()).active);
  });

  it('by pg_terminate_backend fails with what Postgres said, once', async () => {
    const recorded = await recordStream(source);
    await source.client.query('SELECT pg_terminate_backend($1)', [(await readSlot()).pid]);
    expect(await recorded.waitForFailure()).toMatchObject({ code: '57P01' });
    await delay(100);
    expect(recorded.failures).toHaveLength(1);
  });

  it('while it is paused fails within a few heartbeats, although nothing is read', async () => {
    const recorded = await recordStream(source, { paused: true, walSenderTimeoutMs: 1_000 });
    await source.client.query('SELECT pg_terminate_backend($1)', [(await readSlot()).pid]);
    await recorded.waitForFailure(2_000);
    await delay(300);
    expect(recorded.failures).toHaveLength(1);
  });

  it('because the postmaster was killed fails once', async () => {
    const recorded = await recordStream(source);
    await postgres.kill();
    await recorded.waitForFailure();
    await delay(100);
    expect(recorded.failures).toHaveLength(1);
    await postgres.start();
  });

  it('with the first words of a server that shuts down does not start, and says what Postgres said', async () => {
    const proxy = await createTcpProxy({ targetPort: postgres.port });
    const ready = Buffer.from('Z\0\0\0\x05I', 'latin1');
    const fields = ['SFATAL', 'VFATAL', 'C57P01', 'Mterminating connection due to administrator command', ''];
    const text = Buffer.from(fields.map((field) => `${field}\0`).join(''), 'latin1');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(4 + text.length);
    // In one read with the end of the handshake, which is when nobody may be listening yet.
    proxy.onServerData((data) => {
      if (!data.subarray(-ready.length).equals(ready)) return data;
      return { forward: Buffer.concat([data, Buffer.from('E'), length, text]), rest: 'cut' };
    });
    const url = source.url.replace(`:${postgres.port}`, `:${proxy.port}`);
    await expect(recordStream({ ...source, url })).rejects.toMatchObject({ code: '57P01' });
    proxy.close();
  });

  it('because the network went silent is given up after three timeouts', async () => {
    const proxy = await createTcpProxy({ targetPort: postgres.port });
    const url = source.url.replace(`:${postgres.port}`, `:${proxy.port}`);
    const recorded = await recordStream({ ...source, url }, { walSenderTimeoutMs: 500 });
    await delay(1_500);
    expect(recorded.failures, 'an idle server that answers is not silent').toEqual([]);
    proxy.pause();
    expect(await recorded.waitForFailure()).toMatchObject({ code: 'STREAM_LOST' });
    expect(recorded.failures).toHaveLength(1);
    proxy.close();
  });
});

describe('the identity', () => {
  it('names system, database and version, and after a promotion the history, which tells where old commits lie', async () => {
    const recorded = await recordStream(source);
    await source.insert('before the promotion');
    const [before] = await recorded.waitForCommits(1);
    const { identity } = recorded.stream;
    const { rows } = await source.client.query(
      "SELECT system_identifier::text AS id, current_setting('server_version_num')::int AS version FROM pg_control_system()",
    );
    expect(identity).toMatchObject({ systemIdentifier: rows[0].id, database, serverVersion: rows[0].version });
    expect(identity).toMatchObject({ timeline: 1, history: [] });
    await recorded.stream.close();

    await postgres.stop('fast');
    writeFileSync(join(postgres.dataDirectory, 'standby.signal'), '');
    await postgres.start();
    await source.reconnect();
    await source.client.query('SELECT pg_promote()');
    const promoted = await recordStream(source);
    await source.client.query("INSERT INTO facts (value) VALUES ('after the promotion')");
    const [again, after] = await promoted.waitForCommits(2);
    const { timeline, history } = promoted.stream.identity;
    expect(again!.commitLsn).toBe(before!.commitLsn);
    expect({ timeline, ancestors: history.map((one) => one.timeline) }).toEqual({ timeline: 2, ancestors: [1] });
    expect(timelineOf(again!.commitLsn, timeline, history)).toBe(1);
    expect(timelineOf(after!.commitLsn, timeline, history)).toBe(2);
    await promoted.stream.close();
  });
});
