// What pg-logical-replication 2.5 and the protocol parser below it really do, where that loses rows and we go around it.
// Each test fails when an upgrade changes the behaviour: then look at what our code does about it, named beside each.
import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { LogicalReplicationService, type Pgoutput, PgoutputPlugin } from 'pg-logical-replication';
import { parse } from 'pg-protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLocalPostgres, type LocalPostgres } from '../../dev/servers/local-postgres.ts';
import { formatLsn, type Lsn, parseLsn } from '../../schemas/lsn.ts';
import { commitAdjacent, createSourceDatabase, type SourceDatabase } from '../support/postgres/source-stream.ts';
import { createTestDirectory, removeTestDirectory } from '../support/process/test-directory.ts';
import { waitFor } from '../support/wait.ts';

type Received = { lsn: string; message: Pgoutput.Message };
type Subscription = {
  readonly service: LogicalReplicationService;
  readonly received: readonly Received[];
  readonly errors: readonly Error[];
  values(): string[];
  commits(): Pgoutput.MessageCommit[];
  subscribe(): void;
};

let directory: string;
let postgres: LocalPostgres;
let source: SourceDatabase;
const open: LogicalReplicationService[] = [];

beforeAll(async () => {
  directory = createTestDirectory('traps');
  postgres = await createLocalPostgres({ directory, settings: { fsync: 'off', max_replication_slots: '50' } });
  await postgres.start();
});

afterAll(async () => {
  await postgres?.close();
  removeTestDirectory(directory);
});

beforeEach(async () => {
  const id = randomBytes(4).toString('hex');
  await postgres.createDatabase(`traps_${id}`);
  source = await createSourceDatabase(postgres.url(`traps_${id}`), id);
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((service) => service.stop()));
  await source.close();
});

/** The library as its README uses it, with the settings given. */
function createSubscription(
  acknowledge: { auto: boolean; timeoutSeconds: number },
  more: { flowControl?: boolean; onData?: (received: Received) => Promise<void>; senderTimeout?: string } = {},
): Subscription {
  const options = more.senderTimeout === undefined ? {} : { options: `-c wal_sender_timeout=${more.senderTimeout}` };
  const service = new LogicalReplicationService(
    { connectionString: source.url, ...options },
    { acknowledge, flowControl: { enabled: more.flowControl ?? false } },
  );
  open.push(service);
  const received: Received[] = [];
  const errors: Error[] = [];
  service.on('data', (lsn: string, message: Pgoutput.Message) => {
    received.push({ lsn, message });
    return more.onData?.({ lsn, message });
  });
  service.on('error', (error) => void errors.push(error));
  const plugin = new PgoutputPlugin({ protoVersion: 1, publicationNames: [source.publicationName] });
  return {
    service,
    received,
    errors,
    values: () => received.flatMap(({ message }) => (message.tag === 'insert' ? [message.new.value as string] : [])),
    commits: () => received.flatMap(({ message }) => (message.tag === 'commit' ? [message] : [])),
    subscribe: () => void service.subscribe(plugin, source.slotName).catch((error) => errors.push(error)),
  };
}

const manual = { auto: false, timeoutSeconds: 0 };

async function waitForConfirmed(expected: Lsn): Promise<void> {
  await waitFor(`the slot to be confirmed at ${formatLsn(expected)}`, async () => {
    return (await source.confirmedFlushLsn()) === expected;
  });
}

describe('trap 1: acknowledge() sends one more than it is given', () => {
  it('so the end of a COMMIT, acknowledged as it came, loses the transaction that commits right there', async () => {
    const first = createSubscription(manual);
    first.subscribe();
    await commitAdjacent(source.url, 'first', 'second');
    await waitFor('both commits', () => first.commits().length === 2);
    const end = parseLsn(first.commits()[0]!.commitEndLsn!);
    expect(parseLsn(first.commits()[1]!.commitLsn!)).toBe(end);
    await first.service.acknowledge(formatLsn(end));
    await waitForConfirmed((end + 1n) as Lsn);
    await first.service.stop();

    const again = createSubscription(manual);
    again.subscribe();
    await source.insert('third');
    await waitFor('the third row', () => again.values().includes('third'));
    expect(again.values()).toEqual(['third']); // standby-status.ts: acknowledge(x − 1)
  });
});

describe('trap 2: the timer confirms what was received, auto: false or not', () => {
  it('so rows that nobody has processed are gone after a reconnection', async () => {
    const subscription = createSubscription({ auto: false, timeoutSeconds: 1 });
    subscription.subscribe();
    await source.insert('received, never processed');
    await waitFor('the row', () => subscription.values().length === 1);
    const end = parseLsn(subscription.commits()[0]!.commitEndLsn!);
    await waitFor('the unasked confirmation', async () => (await source.confirmedFlushLsn()) >= end);
    await subscription.service.stop();

    const again = createSubscription(manual);
    again.subscribe();
    await source.insert('later');
    await waitFor('the later row', () => again.values().includes('later'));
    expect(again.values()).toEqual(['later']); // raw-replication.ts: timeoutSeconds 0; standby-status.ts: own timer
  });
});

describe('trap 3: without the timer nobody answers keepalives', () => {
  it('so an idle stream is dropped after wal_sender_timeout', async () => {
    const subscription = createSubscription(manual, { senderTimeout: '1s' });
    let asked = 0;
    subscription.service.on('heartbeat', (_lsn, _atMs, shouldRespond) => {
      if (shouldRespond) asked += 1;
    });
    subscription.subscribe();
    await waitFor('the dropped connection', () => subscription.errors.length > 0, { deadlineMs: 10_000 });
    expect(asked).toBeGreaterThan(0); // standby-status.ts: every quarter of the timeout, at least every second
  });
});

describe('trap 4: the same object, subscribed again, starts at what it had received', () => {
  it('so rows that were received and not acknowledged never come again', async () => {
    const subscription = createSubscription(manual);
    subscription.subscribe();
    await source.insert('one');
    await source.insert('two');
    await waitFor('two rows', () => subscription.values().length === 2);
    await subscription.service.stop();
    subscription.subscribe();
    await source.insert('three');
    await waitFor('the third row', () => subscription.values().includes('three'));
    expect(subscription.values()).toEqual(['one', 'two', 'three']); // replication-stream.ts: a new object each time

    await subscription.service.stop();
    const fresh = createSubscription(manual);
    fresh.subscribe();
    await waitFor('all rows', () => fresh.values().length === 3); // Postgres would have sent them
  });
});

describe('trap 5: flow control goes on past an error', () => {
  it('so what a handler failed on is acknowledged, and the handler gets the next', async () => {
    const subscription = createSubscription(
      { auto: true, timeoutSeconds: 0 },
      {
        flowControl: true,
        onData: async ({ message }) => {
          if (message.tag === 'insert' && message.new.value === 'bad') throw new Error('not processed');
        },
      },
    );
    subscription.subscribe();
    await source.insert('bad');
    await source.insert('good');
    await waitFor('two commits', () => subscription.commits().length === 2);
    expect(subscription.errors.map(({ message }) => message)).toEqual(['not processed']);
    const end = parseLsn(subscription.commits()[0]!.commitEndLsn!);
    await waitFor('the confirmation past the bad row', async () => (await source.confirmedFlushLsn()) >= end);
  });

  it('and without it, nobody waits for a handler', async () => {
    let running = 0;
    let atOnce = 0;
    const subscription = createSubscription(manual, {
      onData: async () => {
        running += 1;
        atOnce = Math.max(atOnce, running);
        await delay(50);
        running -= 1;
      },
    });
    subscription.subscribe();
    await source.insert('one');
    await waitFor('the commit', () => subscription.commits().length === 1);
    expect(atOnce).toBeGreaterThan(1); // replication-stream.ts: handlers are synchronous; pause() is the backpressure
  });
});

describe('the protocol parser below', () => {
  it('moves what is left of a read to the front of the buffer that messages handed out are views of', async () => {
    const socket = new PassThrough();
    const chunks: Buffer[] = [];
    void parse(socket, (message) => {
      if (message.name === 'copyData') chunks.push((message as unknown as { chunk: Buffer }).chunk);
    });
    const message = (text: string): Buffer => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(4 + text.length);
      return Buffer.concat([Buffer.from('d'), length, Buffer.from(text)]);
    };
    const all = Buffer.concat([message('first kept row'), message('second row'), message('third row')]);
    // The first read ends within the second message, and holds room for what comes then.
    socket.write(Buffer.from(all.subarray(0, 24)));
    await waitFor('the first message', () => chunks.length === 1);
    expect(chunks[0]!.toString()).toBe('first kept row');
    socket.write(Buffer.from(all.subarray(24, 33)));
    await delay(10);
    expect(chunks[0]!.toString()).not.toBe('first kept row'); // raw-replication.ts: keepBytes
  });
});
