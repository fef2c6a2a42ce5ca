// What the reader's role may read decides whether it can prove anything, and never what the stream brings: a start without
// the right to see every row waits by name, a reader that streams warns and goes on. Settings that a role brings along
// matter to nothing (I1, I11). The roles are made as docs/operations.md says.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listTopics } from '../../support/kafka/admin.ts';
import type { Service } from '../../support/process/service-process.ts';
import {
  type CaptureStage,
  createCaptureStage,
  requireUndisturbed,
  waitForProblems,
} from '../../support/stack/capture-stage.ts';
import { readPublished } from '../../support/stack/require-halted.ts';
import { waitFor } from '../../support/wait.ts';

const both = (statement: (table: string) => string) => ['orders', 'order_items'].map(statement).join('; ');
const ENABLE = both((table) => `ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`);
const DISABLE = both((table) => `ALTER TABLE ${table} DISABLE ROW LEVEL SECURITY`);
const FILTERED = ['ROW_LEVEL_SECURITY', 'ROW_LEVEL_SECURITY'];

describe("the reader's role", () => {
  let stage: CaptureStage;
  let role: string;
  let more: Record<string, string>;
  beforeEach(async () => {
    stage = await createCaptureStage('visibility');
    const made = await stage.createRole();
    role = made.name;
    more = made.env;
  });
  afterEach(() => stage.cleanUp());

  const requireNothingPublished = async (): Promise<void> => {
    const topics = await listTopics(stage.environment.servers.directBrokers);
    if (topics.includes(stage.environment.env.ORDERS_TOPIC)) expect(await readPublished(stage)).toEqual([]);
  };
  const requireWaiting = async (reader: Service, codes: readonly string[]): Promise<string> => {
    const found = await waitForProblems(reader);
    expect(found.codes).toEqual(codes);
    const { status, body } = await reader.ready();
    expect([status, body.state]).toEqual([503, 'waiting']);
    expect(reader.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
    return String(found.waiting.msg);
  };
  const goesOn = async (reader: Service): Promise<void> => {
    await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
    await stage.load.backlog({ first: 900, count: 5 });
    await stage.requireClean();
  };

  it.each<[string, (table: string) => string]>([
    ['without a policy', () => 'SELECT 1'],
    ['with a policy that hides every row', (table) => `CREATE POLICY none ON ${table} USING (false)`],
    ['with a policy that lets all rows through', (table) => `CREATE POLICY everything ON ${table} USING (true)`],
  ])(
    'waits at the very first start while row-level security applies to it %s, and goes on by itself',
    async (_, policy) => {
      await stage.load.backlog({ first: 0, count: 3 });
      await stage.sql(`${ENABLE}; ${both(policy)}`);
      const reader = await stage.startReader({ more });
      const message = await requireWaiting(reader, FILTERED);
      expect(message).toMatch(/BYPASSRLS/);
      expect(message).toMatch(/DISABLE ROW LEVEL SECURITY/);
      expect(message).toMatch(/lets all rows through is not enough/);
      await stage.load.backlog({ first: 3, count: 3 });
      await requireNothingPublished();
      await stage.sql(DISABLE);
      await goesOn(reader);
    },
  );

  it('goes on by itself once it has BYPASSRLS, and publishes what was there before', async () => {
    await stage.load.backlog({ first: 0, count: 3 });
    await stage.sql(ENABLE);
    const reader = await stage.startReader({ more });
    await requireWaiting(reader, FILTERED);
    await stage.sql(`ALTER ROLE ${role} BYPASSRLS`);
    await goesOn(reader);
  });

  it('waits at the first start when only order_items is filtered', async () => {
    await stage.load.backlog({ first: 0, count: 3 });
    await stage.sql('ALTER TABLE order_items ENABLE ROW LEVEL SECURITY');
    const reader = await stage.startReader({ more });
    const message = await requireWaiting(reader, ['ROW_LEVEL_SECURITY']);
    expect(message).toMatch(/public\.order_items/);
    await requireNothingPublished();
    await stage.sql('ALTER TABLE order_items DISABLE ROW LEVEL SECURITY');
    await goesOn(reader);
  });

  it('that owns the tables is filtered only where security is forced', async () => {
    await stage.sql(`${ENABLE}; ${both((table) => `ALTER TABLE ${table} OWNER TO ${role}`)}`);
    await stage.sql(both((table) => `ALTER TABLE ${table} FORCE ROW LEVEL SECURITY`));
    const reader = await stage.startReader({ more });
    await requireWaiting(reader, FILTERED);
    await stage.sql(both((table) => `ALTER TABLE ${table} NO FORCE ROW LEVEL SECURITY`));
    await goesOn(reader);
  });

  it('that is filtered later is warned of, publishes on, and waits at the next start instead of blaming a restore', async () => {
    const reader = await stage.startStreaming({ more });
    await stage.load.backlog({ first: 0, count: 20 });
    await stage.requireClean();
    await stage.sql(ENABLE);
    await stage.load.backlog({ first: 20, count: 20 });
    await reader.waitForLog('reader.visibility-changed', { deadlineMs: 30_000 });
    await stage.requireClean();
    requireUndisturbed(reader);
    await reader.stop();
    await stage.load.backlog({ first: 40, count: 5 });
    const again = await stage.startReader({ more });
    await requireWaiting(again, FILTERED);
    const before = await readPublished(stage);
    expect(before).toHaveLength(40);
    await stage.sql(DISABLE);
    await goesOn(again);
  });

  it('whose SELECT is revoked while it streams is warned of, publishes on, and waits at the next start', async () => {
    const reader = await stage.startStreaming({ more });
    await stage.load.backlog({ first: 0, count: 20 });
    await stage.requireClean();
    await stage.sql(`REVOKE SELECT ON orders FROM ${role}`);
    await stage.load.backlog({ first: 20, count: 20 });
    const warning = await reader.waitForLog('reader.visibility-changed', { deadlineMs: 30_000 });
    expect(warning.msg).toMatch(`GRANT SELECT ON public.orders TO ${role}`);
    await stage.requireClean();
    requireUndisturbed(reader);
    await reader.stop();
    const again = await stage.startReader({ more });
    await requireWaiting(again, ['NO_SELECT_PRIVILEGE']);
    await stage.sql(`GRANT SELECT ON orders TO ${role}`);
    await goesOn(again);
  });

  it('tells when it may read all rows again', async () => {
    const reader = await stage.startStreaming({ more });
    const [off, on] = [`REVOKE SELECT ON orders FROM ${role}`, `GRANT SELECT ON orders TO ${role}`];
    for (const [index, text] of [off, on].entries()) {
      await stage.sql(text);
      await stage.load.backlog({ first: index * 10, count: 5 });
      await waitFor(
        'the change to be told',
        () => reader.logs.filter(({ event }) => event === 'reader.visibility-changed').length === index + 1,
      );
    }
    const told = reader.logs.filter(({ event }) => event === 'reader.visibility-changed');
    expect(told.map(({ level }) => level)).toEqual(['warn', 'info']);
    await stage.requireClean();
  });

  it('needs no more than the columns of the contract', async () => {
    await stage.load.backlog({ first: 0, count: 10 });
    await stage.sql(`
      REVOKE SELECT ON orders, order_items FROM ${role};
      GRANT SELECT (order_id, user_id, source, currency, total_cents, placed_at) ON orders TO ${role};
      GRANT SELECT (order_id, line_no, sku, quantity, unit_price_cents, cart_line_id) ON order_items TO ${role}`);
    const reader = await stage.startReader({ more });
    await goesOn(reader);
    await reader.stop();
    const again = await stage.startStreaming({ more });
    await stage.requireClean();
    requireUndisturbed(again);
  });

  it('that lacks one column of the contract waits', async () => {
    await stage.sql(`
      REVOKE SELECT ON order_items FROM ${role};
      GRANT SELECT (order_id, line_no, sku, quantity, unit_price_cents) ON order_items TO ${role}`);
    const reader = await stage.startReader({ more });
    await requireWaiting(reader, ['NO_SELECT_PRIVILEGE']);
    await stage.sql(`GRANT SELECT (cart_line_id) ON order_items TO ${role}`);
    await goesOn(reader);
  });

  it.each([
    ['at the first start', false],
    ['at a later start', true],
  ])('that may not use the schema waits %s', async (_, isLater) => {
    if (isLater) {
      const first = await stage.startStreaming({ more });
      await stage.load.backlog({ first: 0, count: 10 });
      await stage.requireClean();
      await first.stop();
    }
    await stage.sql('REVOKE USAGE ON SCHEMA public FROM PUBLIC');
    const reader = await stage.startReader({ more });
    await requireWaiting(reader, ['NO_SCHEMA_PRIVILEGE']);
    await stage.sql(`GRANT USAGE ON SCHEMA public TO ${role}`);
    await goesOn(reader);
  });

  it.each([
    ["statement_timeout = '20ms'", 20_000],
    ["lock_timeout = '1ms'", 200],
    ["idle_in_transaction_session_timeout = '5ms'", 5_000],
    ["idle_session_timeout = '200ms'", 200],
    ["transaction_timeout = '100ms'", 5_000],
    ['quote_all_identifiers = on', 200],
    ["DateStyle = 'German, DMY'", 200],
    ["TimeZone = 'Asia/Kathmandu'", 200],
    ["search_path = 'shop'", 200],
    ["search_path = 'shop, public'", 200],
    ['row_security = off', 200],
    ["default_transaction_isolation = 'serializable'", 200],
    ['default_transaction_read_only = on', 200],
    ["extra_float_digits = '-10'", 200],
    ["client_min_messages = 'debug1'", 200],
  ])('that brings %s along publishes everything, from the first start on', async (setting, orders) => {
    await stage.sql(
      'CREATE SCHEMA shop; CREATE TABLE shop.orders (id int); CREATE VIEW shop.pg_class AS SELECT 1 AS oid',
    );
    await stage.sql(`GRANT USAGE ON SCHEMA shop TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO PUBLIC`);
    await stage.sql(`ALTER ROLE ${role} SET ${setting}`);
    await stage.load.insertTogether({ first: 0, count: orders });
    const reader = await stage.startReader({ more });
    await reader.waitForLog('reader.streaming', { deadlineMs: 60_000 });
    await stage.load.pace({ first: orders, count: 20, ordersPerSecond: 20 });
    await stage.requireClean();
    requireUndisturbed(reader);
    await reader.stop();
    const again = await stage.startStreaming({ more });
    await stage.load.backlog({ first: orders + 20, count: 5 });
    await stage.requireClean();
    requireUndisturbed(again);
  });
});
