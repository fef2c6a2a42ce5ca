// `npm run adopt` as a process: what it refuses, that it changes nothing without a yes, and that a run which was killed
// between any two steps is completed by the next. From halt to clean audit, with traffic: test/fault/disaster-*.test.ts.
import { randomUUID } from 'node:crypto';
import { Kafka, logLevel } from 'kafkajs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseCheckpoint } from '#schemas/checkpoint.ts';
import { formatReplayHeaders } from '#schemas/replay/records.ts';
import { RULE_VERSION } from '../../../cart-sink/rule/reduce-cart.ts';
import { withKafkaAdmin } from '../../support/kafka/admin.ts';
import { readTopic } from '../../support/oracle/read-topic.ts';
import { runTool, startTool } from '../../support/process/tool-process.ts';
import { createDisasterStage, type DisasterStage } from '../../support/stack/disaster-stage.ts';
import { waitFor } from '../../support/wait.ts';

describe('adopting at the reader', { timeout: 300_000 }, () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('adopt_reader');
  });
  afterEach(() => stage.cleanUp());

  const env = () => stage.environment.env;
  const dropSlot = () =>
    waitFor('the slot to be free', () =>
      stage.orders(`SELECT pg_drop_replication_slot('${env().SLOT_NAME}')`).then(() => true),
    );
  const slots = () =>
    stage.orders(
      'SELECT slot_name::text, restart_lsn::text FROM pg_replication_slots WHERE database = current_database() ORDER BY 1',
    );
  const admin = <T>(use: Parameters<typeof withKafkaAdmin<T>>[1]) =>
    withKafkaAdmin(stage.environment.servers.directBrokers, use);
  const deleteTopic = (topic: string) =>
    admin(async (client) => {
      await client.deleteTopics({ topics: [topic] });
      await waitFor('the topic to be gone', async () => !(await client.listTopics()).includes(topic));
    });
  const readCheckpoint = async () => {
    const brokers = stage.environment.servers.directBrokers.split(',');
    const [log] = await readTopic({ brokers, topic: env().CHECKPOINT_TOPIC, deadlineMs: 20_000 });
    const newest = log!.records.filter(({ outcome }) => outcome === 'committed').at(-1);
    return { offset: newest!.offset, checkpoint: parseCheckpoint(Buffer.from(newest!.value!)) };
  };
  const publishSome = async (count = 40) => {
    const reader = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count });
    return reader;
  };
  /** Publishes, with a sink that applies, stops the reader and leaves the sink. */
  const applySome = async () => {
    const sink = await stage.startSink();
    const reader = await publishSome();
    await stage.waitApplied();
    await reader.stop();
    return sink;
  };

  it('refuses while a reader streams, where nothing is wrong, and before a first start', async () => {
    const none = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(none.stderr).toContain('it makes its first start');
    const reader = await publishSome();
    const active = await stage.run('adopt', ['reader', '--yes', '--force'], { code: 1 });
    expect(active.stderr).toMatch(/server process \d+ streams from the slot .* stop that reader/);
    await reader.stop();
    const before = await slots();
    const fine = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(fine.stderr).toMatch(/nothing wrong is found: start the reader.*--force/);
    expect(await slots()).toEqual(before);
  });

  it('shows the halt and changes nothing where nobody can answer', async () => {
    await (await publishSome()).stop();
    await dropSlot();
    const [before, slotsBefore] = [await readCheckpoint(), await slots()];
    const asked = await stage.run('adopt', ['reader'], { code: 64 });
    expect(asked.stdout).toMatch(/The reader halts with SLOT_DROPPED:\n +throughLsn: 0\/.*\n +flushLsn: 0\//);
    expect(asked.stderr).toContain('--yes');
    expect(await readCheckpoint()).toEqual(before);
    expect(await slots()).toEqual(slotsBefore);
  });

  it('goes on with --force although nothing is seen to be wrong', async () => {
    const sink = await applySome();
    const forced = await stage.run('adopt', ['reader', '--yes', '--force']);
    expect(forced.stdout).toContain('--force continues anyway');
    await stage.startStreaming();
    await stage.load.backlog({ first: 40, count: 10 });
    await stage.requireWhole();
    expect(sink.exitCode).toBeUndefined();
  });

  it('leaves the window slot alone and writes to no table', async () => {
    const reader = await publishSome();
    const isWindow = (slot: Record<string, unknown>) => String(slot.slot_name).endsWith('_window');
    await waitFor('the window slot', async () => (await slots()).some(isWindow), { deadlineMs: 30_000 });
    await reader.stop();
    await dropSlot();
    const window = await slots();
    expect(window.filter(isWindow)).toHaveLength(1);
    const xacts = () => stage.orders('SELECT count(*)::int AS orders, max(xmin::text) AS newest FROM orders');
    const before = await xacts();
    await stage.run('adopt', ['reader', '--yes']);
    expect((await slots()).filter(isWindow)).toEqual(window);
    expect(await xacts()).toEqual(before);
  });

  it('says the repair is from the tables when the publication was another one meanwhile', async () => {
    const reader = await publishSome();
    const { PUBLICATION_NAME } = env();
    await stage.orders(`ALTER PUBLICATION ${PUBLICATION_NAME} DROP TABLE order_items, orders`);
    await stage.waitHalted(reader, 'PUBLICATION_CHANGED');
    await stage.load.backlog({ first: 40, count: 5 });
    const refused = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(refused.stderr).toContain('correct this first');
    await stage.orders(`ALTER PUBLICATION ${PUBLICATION_NAME} ADD TABLE orders, order_items`);
    const adopted = await stage.run('adopt', ['reader', '--yes']);
    expect(adopted.stdout).toContain('PUBLICATION_CHANGED');
    expect(adopted.stdout).toMatch(/close the gap: npm run replay -- --source tables$/m);
    await reader.stop();
    await stage.startStreaming();
  });

  it('finishes what it began when nobody reads its output', async () => {
    await (await publishSome()).stop();
    await dropSlot();
    const piped = await runTool('adopt', ['reader', '--yes'], env(), { closeOutput: true });
    expect(piped).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await slots()).map((slot) => slot.slot_name)).toContain(env().SLOT_NAME);
    expect((await readCheckpoint()).checkpoint.gaps).toHaveLength(1);
    await stage.startReader();
  });

  it('rebuilds a checkpoint that is lost', async () => {
    const sink = await applySome();
    await deleteTopic(env().CHECKPOINT_TOPIC);
    const adopted = await stage.run('adopt', ['reader', '--yes']);
    expect(adopted.stdout).toContain('CHECKPOINT_MISSING');
    const { checkpoint } = await readCheckpoint();
    expect(checkpoint).toMatchObject({ generation: 1, partitions: 6, gaps: [{ fromLsn: 0n }] });
    expect(checkpoint.lastPublished).not.toBeNull();
    await stage.startStreaming();
    await stage.load.backlog({ first: 40, count: 20 });
    await stage.requireWhole();
    expect(sink.exitCode).toBeUndefined();
  });

  it('needs an empty topic for a new generation, and the carts database', async () => {
    const sink = await applySome();
    const { ORDERS_TOPIC } = env();
    const brokers = env().KAFKA_BROKERS;
    // Something else writes to the live topic.
    const producer = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING }).producer();
    await producer.connect();
    await producer.send({ topic: ORDERS_TOPIC, messages: [{ partition: 0, key: 'x', value: 'not ours' }] });
    await producer.disconnect();
    const full = await stage.run('adopt', ['reader', '--yes'], { code: 1 });
    expect(full.stderr).toMatch(/needs an empty live topic.*ORDERS_TOPIC to a new name.*delete the topic/);

    await sink.stop();
    await deleteTopic(ORDERS_TOPIC);
    const { CART_DATABASE_URL: _, ...withoutCarts } = env();
    const blind = await runTool('adopt', ['reader', '--yes'], withoutCarts);
    expect(blind).toMatchObject({ code: 78, stderr: expect.stringContaining('CART_DATABASE_URL') });
    const adopted = await stage.run('adopt', ['reader', '--yes']);
    expect(adopted.stdout).toContain('LIVE_TOPIC_MISSING');
    await stage.startStreaming();
    await stage.startSink();
    await stage.load.backlog({ first: 40, count: 20 });
    await stage.requireWhole();
  });

  it.each([
    'adopt.fenced',
    'adopt.slot-dropped',
    'adopt.slot-created',
    'adopt.offsets-reset',
    'adopt.checkpoint-written',
  ])('of a new generation is completed by another run when it was killed at %s', async (failpoint) => {
    const sink = await applySome();
    await sink.stop();
    await deleteTopic(env().ORDERS_TOPIC);
    const killed = await runTool('adopt', ['reader', '--yes'], env(), { failpoints: `${failpoint}=kill` });
    expect(killed.code).toBeNull();
    const isDone = failpoint === 'adopt.checkpoint-written';
    const again = await stage.run('adopt', ['reader', '--yes'], { code: isDone ? 1 : 0 });
    if (isDone) expect(again.stderr).toContain('nothing wrong is found');
    const { checkpoint } = await readCheckpoint();
    expect(checkpoint).toMatchObject({ generation: 2, lastPublished: null, nextOffsets: [] });
    expect(checkpoint.gaps).toEqual([{ fromLsn: 0n, toLsn: checkpoint.throughLsn }]);
    const offsets = await stage.carts(
      `SELECT DISTINCT next_offset::int, generation, last_commit_lsn FROM consumer_offsets WHERE topic = '${env().ORDERS_TOPIC}'`,
    );
    expect(offsets).toEqual([{ next_offset: 0, generation: 2, last_commit_lsn: null }]);
    await stage.startStreaming();
    await stage.startSink();
    await stage.load.backlog({ first: 40, count: 20 });
    await stage.requireWhole();
  });
});

describe('adopting at the sinks', { timeout: 300_000 }, () => {
  let stage: DisasterStage;
  beforeEach(async () => {
    stage = await createDisasterStage('adopt_sink');
  });
  afterEach(() => stage.cleanUp());

  it('refuses where nothing is wrong or the live topic is missing', async () => {
    await stage.startSink();
    const missing = await stage.run('adopt', ['sink', '--yes'], { code: 1 });
    expect(missing.stderr).toContain('npm run adopt -- reader');
    await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 20 });
    await stage.waitApplied();
    const fine = await stage.run('adopt', ['sink', '--yes'], { code: 1 });
    expect(fine.stderr).toContain('nothing wrong is found');
    expect(fine.stdout).toMatch(/\[5\] next \d+, Kafka has 0 to \d+, last applied 1:/);
  });

  it('mends offsets beyond the end, with what was parked set aside, and applies nothing twice', async () => {
    const sink = await stage.startSink();
    await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 60 });
    await stage.waitApplied();
    await sink.stop();
    const { ORDERS_TOPIC, CONSUMER_GROUP } = stage.environment.env;
    await stage.carts(
      `UPDATE consumer_offsets SET next_offset = next_offset + 1000 WHERE topic = '${ORDERS_TOPIC}' AND partition < 2`,
    );
    await stage.carts(`INSERT INTO parked_events (consumer_group, topic, partition, "offset", reason)
      VALUES ('${CONSUMER_GROUP}', '${ORDERS_TOPIC}', 0, 3, 'x')`);
    const halted = await stage.startHaltingSink();
    expect((await stage.waitHalted(halted, 'OFFSET_BEYOND_END')).msg).toContain('npm run adopt -- sink');
    const adopted = await stage.run('adopt', ['sink', '--yes']);
    expect(adopted.stdout).toContain('OFFSET_BEYOND_END -> moves to 0, position cleared');
    expect(adopted.stdout).toContain('Done: 2 partitions moved.');
    expect(adopted.stdout).toMatch(/apply what was lost: npm run replay -- --from-lsn 1:0\//);
    await halted.stop();
    const parked = await stage.carts('SELECT topic FROM parked_events');
    expect(parked).toEqual([{ topic: expect.stringMatching(` before epoch \\d+$`) }]);
    await stage.startSink();
    await stage.load.backlog({ first: 60, count: 20 });
    await stage.requireWhole();
  });

  it('mends a position that went back, wherever in the backlog it does', async () => {
    const sink = await stage.startSink();
    await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 60 });
    await stage.waitApplied();
    await sink.stop();
    await stage.load.backlog({ first: 60, count: 60 });
    const { ORDERS_TOPIC } = stage.environment.env;
    await stage.carts(
      `UPDATE consumer_offsets SET last_timeline = 7 WHERE topic = '${ORDERS_TOPIC}' AND partition = 1`,
    );
    const halted = await stage.startHaltingSink();
    await stage.waitHalted(halted, 'POSITION_WENT_BACK');
    const adopted = await stage.run('adopt', ['sink', '--yes']);
    expect(adopted.stdout).toMatch(/\[1\] .* POSITION_WENT_BACK -> stays at \d+, position cleared/);
    expect(adopted.stdout).not.toContain('npm run replay');
    await halted.stop();
    await stage.startSink();
    await stage.requireWhole();
  });

  it('parks a record of an unknown schema, and the running sink goes on to a clean audit', async () => {
    const sink = await stage.startSink();
    await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 60 });
    await stage.waitApplied();
    const { ORDERS_TOPIC, KAFKA_BROKERS } = stage.environment.env;
    const producer = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING }).producer();
    await producer.connect();
    const value = Buffer.from('c301ffffffffffffffff00', 'hex');
    await producer.send({ topic: ORDERS_TOPIC, messages: [{ partition: 3, key: 'x', value }] });
    await producer.disconnect();
    await stage.load.backlog({ first: 60, count: 60 });
    const applied = async () => (await stage.carts('SELECT FROM applied_orders')).length;
    const halted = () =>
      stage.carts('SELECT partition, halted_code FROM consumer_offsets WHERE halted_code IS NOT NULL');
    await waitFor('the partition to halt, and the others to go on', async () => {
      expect(await halted()).toEqual([{ partition: 3, halted_code: 'UNKNOWN_SCHEMA' }]);
      expect(await applied()).toBeGreaterThan(90);
      return true;
    });
    expect(await applied()).toBeLessThan(120);

    const begunMs = performance.now();
    const audit = await stage.run('audit', ['--wait-seconds', '600'], { code: 3 });
    expect(performance.now() - begunMs).toBeLessThan(60_000);
    const command = /\[3\] has halted at offset \d+ with UNKNOWN_SCHEMA since .* npm run adopt -- sink --park '(\S+)'/;
    const record = command.exec(audit.stdout)![1]!;
    const plain = await stage.run('adopt', ['sink', '--yes'], { code: 1 });
    expect(plain.stdout).toContain(`--park '${record}'`);
    const replay = await stage.run('replay', ['--source', 'tables', '--dry-run'], { code: 1 });
    expect(replay.stdout).toContain(`--park '${record}'`);

    await stage.run('adopt', ['sink', '--park', record, '--yes']);
    await stage.requireWhole();
    expect(sink.exitCode).toBeUndefined();
    expect((await stage.run('audit', [])).stdout).toMatch(/^parked events +1 /m);
    await stage.run('parked', ['discard', '1', '--reason', 'not ours', '--yes']);
    const clean = await stage.run('audit', []);
    expect(clean.stdout).toMatch(/^discarded +1 /m);
    expect(clean.stdout).not.toContain('parked events  ');
  });

  it('parks a record that halts the replay topic, for which a replay waits by name', async () => {
    await stage.startSink();
    await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 60 });
    await stage.waitApplied();
    const { REPLAY_TOPIC, KAFKA_BROKERS } = stage.environment.env;
    const producer = new Kafka({ brokers: KAFKA_BROKERS.split(','), logLevel: logLevel.NOTHING }).producer();
    await producer.connect();
    const runId = randomUUID();
    await stage.carts(`INSERT INTO replay_runs (run_id, mode, source, rule_version, plan, state)
      VALUES ('${runId}', 'repair', 'kafka', ${RULE_VERSION}, '{}', 'cancelled')`);
    const headers = formatReplayHeaders({ runId, mode: 'repair', ruleVersion: RULE_VERSION }, 'order');
    const value = Buffer.from('c301ffffffffffffffff00', 'hex');
    await producer.send({ topic: REPLAY_TOPIC, messages: [{ partition: 3, key: 'x', value, headers }] });
    await producer.disconnect();
    const replay = await startTool(
      'replay',
      ['--from-lsn', '0/1', '--mode', 'reapply', '--yes'],
      stage.environment.env,
    );
    await replay.waitForOutput(
      /waiting until the sinks[\s\S]*\[3\] has halted at offset 0 with UNKNOWN_SCHEMA/,
      60_000,
    );
    expect((await stage.run('audit', [])).stdout).toMatch(/^\S+\[3\] has halted at offset 0 with UNKNOWN_SCHEMA/m);
    await stage.run('adopt', ['sink', '--park', `${REPLAY_TOPIC}[3]@0`, '--yes']);
    expect((await replay.exited).code).toBe(0);
    expect(replay.stdout()).toContain('Verdict: agreed');
    const counted = `SELECT partition, parked::int FROM replay_results WHERE run_id = '${runId}'`;
    expect(await stage.carts(counted)).toEqual([{ partition: 3, parked: 1 }]);
    const retried = await stage.run('parked', ['retry', '1', '--yes'], { code: 1 });
    expect(retried.stderr).toContain('replaying it again');
    await stage.requireWhole();
  });

  it('refuses to move a partition that a sink has taken meanwhile, and moves none', async () => {
    const sink = await stage.startSink();
    await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 60 });
    await stage.waitApplied();
    await sink.stop();
    const { ORDERS_TOPIC } = stage.environment.env;
    await stage.carts(`UPDATE consumer_offsets SET next_offset = next_offset + 1000 WHERE topic = '${ORDERS_TOPIC}'`);
    // The last partition's row is taken while the tool waits for its lock.
    const stored = () =>
      stage.carts('SELECT partition, next_offset, owner_epoch FROM consumer_offsets ORDER BY topic, partition');
    await stage.carts(`CREATE FUNCTION take_it() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RETURN CASE WHEN NEW.partition = 5 THEN NULL ELSE NEW END; END $$`);
    await stage.carts(
      'CREATE TRIGGER take_it BEFORE UPDATE ON consumer_offsets FOR EACH ROW EXECUTE FUNCTION take_it()',
    );
    const before = await stored();
    const refused = await stage.run('adopt', ['sink', '--yes'], { code: 1 });
    expect(refused.stderr).toContain('a sink has taken or moved');
    expect(await stored()).toEqual(before);
    await stage.carts('DROP TRIGGER take_it ON consumer_offsets; DROP FUNCTION take_it');
  });
});
