// A stage on which the captured tables are changed under the reader: orders that go on being placed by whatever the tables
// are called now, roles for the reader as docs/operations.md makes them, and what must hold of a halt: nothing that came after the
// change is published or acknowledged, and the message names the cause.

import { expect } from 'vitest';
import { parseLsn } from '../../../schemas/lsn.ts';
import type { LogEntry, Service } from '../process/service-process.ts';
import { HopelessError, waitFor } from '../wait.ts';
import { databaseUrl, withServer } from './environment.ts';
import { createPipelineStage, type PipelineStage } from './pipeline-stage.ts';
import { readHalt, readPublished } from './require-halted.ts';

export type CaptureStage = PipelineStage & {
  /** As a superuser; several statements of one text are one transaction. */
  sql(text: string): Promise<Record<string, unknown>[]>;
  /** One transaction a text. */
  run(texts: readonly string[]): Promise<void>;
  /** The place in the WAL that everything committed by now lies before. */
  walEnd(): Promise<bigint>;
  confirmedLsn(): Promise<bigint>;
  /** Places orders, one transaction each, until it is stopped. */
  startTraffic(options?: { mayFail?: boolean }): Traffic;
  /** Makes a role as docs/operations.md says; returns its name and the variable that has the reader use it. */
  createRole(attributes?: string): Promise<{ name: string; env: { ORDER_DATABASE_URL: string } }>;
  /** As the publication of the migrations, or FOR ALL TABLES. */
  createPublication(what: string): Promise<void>;
};

type Traffic = {
  readonly placed: () => number;
  /** Waits until `count` more orders are placed, or refused. */
  more(count: number): Promise<void>;
  stop(): Promise<void>;
};

const FIRST_OF_TRAFFIC = 10_000;

export async function createCaptureStage(label: string): Promise<CaptureStage> {
  const stage = await createPipelineStage(label);
  const { env, id, servers } = stage.environment;
  const roles: string[] = [];
  const traffics: Traffic[] = [];
  let next = FIRST_OF_TRAFFIC;

  const sql: CaptureStage['sql'] = (text) =>
    withServer(env.ORDER_DATABASE_URL, async (client) => {
      const result = (await client.query(text)) as unknown as { rows: Record<string, unknown>[] };
      return (Array.isArray(result) ? result.at(-1) : result).rows;
    });
  // Either forgets that a table had rules or children: docs/failures.md names what can't be told then.
  for (const table of ['orders', 'order_items']) await sql(`ALTER TABLE ${table} SET (autovacuum_enabled = false)`);

  return {
    ...stage,
    sql,
    async run(texts) {
      for (const text of texts) await sql(text);
    },
    async walEnd() {
      const [row] = await sql('SELECT pg_current_wal_insert_lsn()::text AS lsn');
      return parseLsn(row!.lsn as string);
    },
    async confirmedLsn() {
      const query = `SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = '${env.SLOT_NAME}'`;
      const [row] = await sql(query);
      return parseLsn(row!.lsn as string);
    },
    startTraffic({ mayFail = false } = {}) {
      let isStopped = false;
      let [placed, refused] = [0, 0];
      const running = (async () => {
        while (!isStopped) {
          try {
            await stage.load.place(next++);
            placed += 1;
          } catch (error) {
            if (!mayFail) throw error;
            refused += 1;
          }
        }
      })();
      running.catch(() => undefined);
      const traffic: Traffic = {
        placed: () => placed,
        async more(count) {
          const enough = placed + refused + count;
          await waitFor(`${count} more orders`, () => isStopped || placed + refused >= enough, { deadlineMs: 60_000 });
        },
        async stop() {
          isStopped = true;
          await running;
        },
      };
      traffics.push(traffic);
      return traffic;
    },
    async createRole(attributes = '') {
      const name = `reader_${id}_${roles.length}`;
      roles.push(name);
      await sql(`CREATE ROLE ${name} LOGIN REPLICATION ${attributes}; GRANT SELECT ON orders, order_items TO ${name}`);
      const url = new URL(env.ORDER_DATABASE_URL);
      url.username = name;
      return { name, env: { ORDER_DATABASE_URL: url.href } };
    },
    async createPublication(what) {
      await sql(`DROP PUBLICATION IF EXISTS ${env.PUBLICATION_NAME}`);
      await sql(`CREATE PUBLICATION ${env.PUBLICATION_NAME} ${what} WITH (publish = 'insert')`);
    },
    async cleanUp() {
      await Promise.allSettled(traffics.map((traffic) => traffic.stop()));
      await stage.cleanUp();
      await withServer(databaseUrl(servers.orderServerUrl, 'postgres'), async (client) => {
        for (const role of roles) await client.query(`DROP ROLE ${role}`);
      });
    },
  };
}

/** Lets a reader go on that is paused at a failpoint. */
export function resumePaused(reader: Service): void {
  process.kill(reader.pid, 'SIGUSR2');
}

/** Codes of the problems that the reader says it waits for, newest last; `from` is where its log is read from. */
export async function waitForProblems(reader: Service, from = 0): Promise<{ codes: string[]; waiting: LogEntry }> {
  const waiting = await reader.waitForLog('reader.waiting', { deadlineMs: 60_000, from });
  const codes = ((waiting.problems ?? []) as { code: string }[]).map(({ code }) => code);
  return { codes, waiting };
}

/** Advice that is wrong wherever the tables were changed. */
const WRONG_ADVICE = /restored|npm run migrate|clone of another/;

/** Waits for the halt over the identity of the tables. Returns its message. */
export async function requireTablesChanged(reader: Service, says: RegExp): Promise<string> {
  const { message } = await readHalt(reader, 'TABLES_CHANGED');
  expect(message).toMatch(says);
  expect(message).not.toMatch(WRONG_ADVICE);
  expect(message).toMatch(/npm run adopt/);
  expect((await reader.ready()).status).toBe(503);
  return message;
}

/** `changedLsn`: orders that committed behind it must not be published. `changeEndLsn`: acknowledged is nothing behind. */
export async function requireNothingBehind(
  stage: CaptureStage,
  changedLsn: bigint,
  changeEndLsn: bigint,
): Promise<number> {
  const published = await readPublished(stage);
  expect(published.filter(({ commitLsn }) => commitLsn > changedLsn).map(({ orderId }) => orderId)).toEqual([]);
  expect(await stage.confirmedLsn()).toBeLessThanOrEqual(changeEndLsn);
  return published.length;
}

/** Waits for a condition that a halt of `reader` would make hopeless. */
export function waitUnlessHalted(reader: Service, what: string, condition: () => Promise<boolean>): Promise<unknown> {
  return waitFor(
    what,
    () => {
      const halt = reader.logs.find(({ event }) => event === 'pipeline.halted');
      if (halt !== undefined) throw new HopelessError(new Error(`The reader has halted, ${halt.code}: ${halt.msg}`));
      return condition();
    },
    { deadlineMs: 60_000 },
  );
}

/** No halt, no new start, nothing waited for but transactions of other tests on the same server, by a slot that was new. */
export function requireUndisturbed(reader: Service): void {
  const events = ['pipeline.halted', 'reader.restarting', 'reader.waiting'];
  const found = reader.logs.filter(
    ({ event, code }) => events.includes(event ?? '') && code !== 'SLOT_WAITS_FOR_TRANSACTIONS',
  );
  expect(found.map(({ event, code, msg, err }) => ({ event, code, msg, err }))).toEqual([]);
}
