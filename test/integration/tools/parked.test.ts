// `npm run parked`, and `npm run adopt -- sink --park`, as processes beside a running sink; a producer stands in for the reader.
// From the halt to a clean audit: adopt.test.ts.
import { afterEach, expect, test } from 'vitest';
import { orderPartition } from '#schemas/partition.ts';
import { encodeOrderPlaced } from '../../support/examples/encode-order-placed.ts';
import { createEvent } from '../../support/examples/sink-events.ts';
import type { Service } from '../../support/process/service-process.ts';
import { runTool, type ToolName, type ToolResult } from '../../support/process/tool-process.ts';
import { createSinkStage, type SinkStage } from '../../support/stack/sink-stage.ts';
import { waitFor } from '../../support/wait.ts';

const users = Array.from({ length: 20 }, (_, index) => `user-${index}`);
let stage: SinkStage;
afterEach(() => stage.cleanUp());

async function startSink(label: string): Promise<Service> {
  stage = await createSinkStage(label);
  await stage.createTopics();
  const sink = await stage.startSink();
  await stage.fillCarts(users);
  await stage.publish(users);
  await stage.waitDrained();
  return sink;
}

/** Runs a command and throws with all that it wrote unless it ends with `code`. */
async function run(name: ToolName, args: readonly string[], code = 0): Promise<ToolResult> {
  const result = await runTool(name, args, stage.environment.env);
  if (result.code !== code)
    throw new Error(`${name} ${args} ended with ${result.code}:\n${result.stdout}${result.stderr}`);
  return result;
}

const parked = (args: readonly string[], code = 0) => run('parked', args, code);
const readTables = () =>
  stage.query(`SELECT (SELECT jsonb_agg(p) FROM parked_events p) AS parked, (SELECT jsonb_agg(o) FROM applied_orders o) AS ledger,
    (SELECT jsonb_agg(o) FROM consumer_offsets o) AS offsets, (SELECT sum(quantity) FROM cart_lines) AS carts`);
const waitHalted = (partition: number) =>
  waitFor(`partition ${partition} to halt`, async () => {
    const [row] = await stage.query<{ halted_code: string | null; next_offset: string }>(
      'SELECT halted_code, next_offset FROM consumer_offsets WHERE topic = $1 AND partition = $2',
      [stage.topic, partition],
    );
    return row?.halted_code == null ? undefined : { code: row.halted_code, nextOffset: row.next_offset };
  });
const waitParked = (count: number) =>
  waitFor('the parked records', async () => (await stage.query('SELECT FROM parked_events')).length === count);

test('lists, shows and discards a malformed record, and refuses to apply it', async () => {
  await startSink('parked_malformed');
  expect((await parked(['list'])).stdout).toBe('Nothing is parked.\n');
  await stage.publishRaw([{ partition: 2, key: Buffer.from('user-1'), value: Buffer.from('garbage') }]);
  await waitParked(1);

  const { stdout } = await parked(['list']);
  expect(stdout).toMatch(/^1 {2}\S+\[2\]@\d+ {2}\d{4}-\S+Z {2}\S+ {2}no Avro single-object encoding[^\n]*\n$/);
  const listed = JSON.parse((await parked(['list', '--json'])).stdout);
  expect(listed.parked).toEqual([expect.objectContaining({ id: '1', partition: 2, decided: null })]);
  const data = JSON.parse((await parked(['show', '1', '--json'])).stdout);
  expect(data).toMatchObject({ id: '1', value: '67617262616765', decoder: { kind: 'unreadable' } });
  const shown = await parked(['show', '1']);
  expect(shown.stdout).toMatch(/value {4}7 bytes\n {2}bytes {4}67 61 72 62 61 67 65\n {2}decoder {2}no Avro/);
  expect((await parked(['show', '2'], 1)).stderr).toContain('there is no parked event 2');

  const before = await readTables();
  expect((await parked(['retry', '1', '--yes'], 1)).stderr).toMatch(
    /reads no order in it \(no Avro.*nothing was changed/,
  );
  expect((await parked(['discard', '1', '--yes'], 64)).stderr).toContain('--reason');
  expect((await parked(['discard', '1', '--reason', 'x'], 64)).stderr).toMatch(/no terminal to ask on.*--yes/);
  expect(await readTables()).toEqual(before);

  await parked(['discard', '1', '--reason', 'a test record', '--by', 'ann', '--yes']);
  expect((await parked(['discard', '1', '--reason', 'again'])).stdout).toContain('It was discarded before');
  expect((await parked(['list'])).stdout).toBe('Nothing is parked.\n');
  expect((await parked(['list', '--all'])).stdout).toMatch(/ \[discarded \S+Z by ann: a test record\]\n$/);
  expect(await stage.query('SELECT value FROM parked_events')).toEqual([{ value: Buffer.from('garbage') }]);
});

test('parks a readable order only if asked to, goes on by itself, and applies it once when it can be', async () => {
  const sink = await startSink('parked_readable');
  // As a defect of the sink would: whatever takes from this user's cart fails.
  await stage.query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a defect'; END $$`);
  await stage.query(`CREATE TRIGGER refuse BEFORE UPDATE ON cart_lines FOR EACH ROW WHEN (OLD.user_id = 'user-5')
    EXECUTE FUNCTION refuse()`);
  await stage.publish(users);
  const partition = orderPartition('user-5', 6);
  const { code } = await waitHalted(partition);
  expect(code).toBe('SINK_DEFECT');
  const halted = await sink.waitForLog('pipeline.halted');
  const [command] = /npm run adopt -- sink --park '\S+'/.exec(String(halted.msg)) ?? [];
  const record = /'(.*)'/.exec(command!)![1]!;
  expect(record).toMatch(new RegExp(`\\[${partition}\\]@\\d+$`));

  const before = await readTables();
  expect((await run('adopt', ['sink', '--park', record, '--yes'], 1)).stderr).toContain('--readable-order');
  expect((await run('adopt', ['sink', '--park', record, '--readable-order'], 64)).stderr).toContain(
    'no terminal to ask on',
  );
  const later = record.replace(/@(\d+)$/, (_, offset) => `@${Number(offset) + 1}`);
  expect((await run('adopt', ['sink', '--park', later, '--readable-order', '--yes'], 1)).stderr).toContain(
    `by npm run adopt -- sink --park '${record}'`,
  );
  const healthy = record.replace(/\[\d+\]/, `[${(partition + 1) % 6}]`);
  expect((await run('adopt', ['sink', '--park', healthy, '--yes'], 1)).stderr).toMatch(/has not halted .*; halted: /);
  expect(await readTables()).toEqual(before);

  const adopted = await run('adopt', ['sink', '--park', record, '--readable-order', '--yes']);
  expect(adopted.stdout).toContain('npm run parked -- retry 1');
  // Without a restart of the sink: it finds that its halted partition was moved.
  await waitFor(
    'all but the parked order to be applied',
    async () => {
      return (await stage.query('SELECT FROM applied_orders')).length === 39;
    },
    { deadlineMs: 60_000 },
  );
  expect(sink.exitCode).toBeUndefined();

  expect((await parked(['retry', '1', '--yes'], 69)).stderr).toContain('a defect');
  await stage.query('DROP TRIGGER refuse ON cart_lines');
  const offsets = await stage.storedOffsets();
  // Three at a time, beside orders of the same user.
  const results = await Promise.all([
    ...[1, 2, 3].map(() => parked(['retry', '1', '--yes'])),
    stage.publish(users).then(() => ({ stdout: '' })),
  ]);
  const said = results.map(({ stdout }) => /Done: the order is applied|It was retried before/.exec(stdout)?.[0]);
  expect(said.toSorted()).toEqual([
    'Done: the order is applied',
    'It was retried before',
    'It was retried before',
    undefined,
  ]);
  expect((await parked(['retry', '1'])).stdout).toContain('It was retried before');
  await stage.waitDrained();
  await stage.requireAppliedOnce();
  const epochs = (await stage.storedOffsets()).map(({ ownerEpoch }) => ownerEpoch);
  expect(epochs).toEqual(offsets.map(({ ownerEpoch }) => ownerEpoch));
});

test('parks a record of an unknown schema behind control records, also while no sink runs', async () => {
  const sink = await startSink('parked_unknown');
  const unknown = encodeOrderPlaced(createEvent({ userId: 'user-1' }));
  unknown[3] = unknown[3]! ^ 0xff;
  // Aborted records and their marker lie between what was applied and the record.
  await stage.publishRaw([{ partition: 3, key: Buffer.from('user-1'), value: unknown }], { abort: true });
  await stage.publishRaw([{ partition: 3, key: Buffer.from('user-1'), value: unknown }]);
  await stage.publish(users);
  const { code, nextOffset } = await waitHalted(3);
  expect(code).toBe('UNKNOWN_SCHEMA');
  await sink.stop();
  const adopted = await run('adopt', ['sink', '--park', `${stage.topic}[3]@${nextOffset}`, '--yes']);
  expect(adopted.stdout).toMatch(/decoder {2}no schema with fingerprint [0-9a-f]{16}/);
  expect((await parked(['retry', '1', '--yes'], 1)).stderr).toContain('no schema with fingerprint');
  expect((await run('adopt', ['sink', '--park', `${stage.topic}[3]@${nextOffset}`, '--yes'], 1)).stderr).toContain(
    'has not halted',
  );
  await stage.startSink();
  await stage.waitDrained();
  await stage.requireAppliedOnce();
});
