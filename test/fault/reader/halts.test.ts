// Where continuity can't be proven, the reader halts with a named error that holds both positions, and publishes nothing
// over the gap, whether it was running or down when it happened (I11). What was lost on purpose here stays lost; the
// repair that the errors name is tried in test/fault/disaster-*.test.ts.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withKafkaAdmin } from '../../support/kafka/admin.ts';
import type { Service } from '../../support/process/service-process.ts';
import { withServer } from '../../support/stack/environment.ts';
import { createPipelineStage, type PipelineStage } from '../../support/stack/pipeline-stage.ts';
import { readPublished, requireHalted, requireNothingMore } from '../../support/stack/require-halted.ts';
import { waitFor } from '../../support/wait.ts';

describe('a reader that can not prove continuity', () => {
  let stage: PipelineStage;
  beforeEach(async () => {
    stage = await createPipelineStage('reader_halts');
  });
  afterEach(() => stage.cleanUp());

  const sql = (text: string) => withServer(stage.environment.env.ORDER_DATABASE_URL, (client) => client.query(text));
  const slotName = () => stage.environment.env.SLOT_NAME;
  const publication = () => stage.environment.env.PUBLICATION_NAME;
  const dropSlot = async () => {
    await waitFor('the slot to be free', async () => {
      const { rows } = await sql(`SELECT 1 FROM pg_replication_slots WHERE slot_name = '${slotName()}' AND NOT active`);
      return rows.length > 0;
    });
    await sql(`SELECT pg_drop_replication_slot('${slotName()}')`);
  };
  const createSlot = () => sql(`SELECT pg_create_logical_replication_slot('${slotName()}', 'pgoutput')`);
  const deleteTopic = async (topic: string) => {
    await withKafkaAdmin(stage.environment.servers.directBrokers, async (admin) => {
      await admin.deleteTopics({ topics: [topic] });
      await waitFor('the topic to be gone', async () => !(await admin.listTopics()).includes(topic));
    });
  };
  const createTopic = (topic: string, numPartitions: number) =>
    withKafkaAdmin(stage.environment.servers.directBrokers, async (admin) => {
      await waitFor('the topic to be there again', () => admin.createTopics({ topics: [{ topic, numPartitions }] }));
      await waitFor('its leaders', async () => (await admin.fetchTopicOffsets(topic)).length === numPartitions);
    });

  const publishSome = async (): Promise<Service> => {
    const reader = await stage.startStreaming();
    await stage.load.backlog({ first: 0, count: 40 });
    await stage.requireClean();
    return reader;
  };
  /** The halt, and that the slot is given up with it. */
  const requireHalt = async (reader: Service, code: string): Promise<void> => {
    await requireHalted(reader, code);
    await waitFor('the slot to be given up', async () => {
      const { rows } = await sql(`SELECT 1 FROM pg_replication_slots WHERE slot_name = '${slotName()}' AND active`);
      return rows.length === 0;
    });
  };
  /** Orders behind the gap: whoever goes on publishes them. */
  const placeBehind = () => stage.load.backlog({ first: 100, count: 5 });
  const createPublication = () =>
    sql(`CREATE PUBLICATION ${publication()} FOR TABLE orders, order_items WITH (publish = 'insert')`);

  it.each<[string, string, () => Promise<unknown>]>([
    ['the slot is dropped', 'SLOT_DROPPED', dropSlot],
    [
      'the slot is recreated under the same name',
      'SLOT_AHEAD',
      async () => {
        await dropSlot();
        await stage.load.backlog({ first: 40, count: 5 });
        await createSlot();
      },
    ],
    [
      'the slot is recreated while nothing was written',
      'SLOT_AHEAD',
      async () => {
        await dropSlot();
        await createSlot();
      },
    ],
    [
      'the slot is advanced by hand',
      'SLOT_AHEAD',
      async () => {
        await stage.load.insertTogether({ first: 40, count: 5 });
        await sql(`SELECT pg_replication_slot_advance('${slotName()}', pg_current_wal_flush_lsn())`);
      },
    ],
    [
      'the publication is dropped and created again',
      'PUBLICATION_CHANGED',
      async () => {
        await sql(`DROP PUBLICATION ${publication()}`);
        await createPublication();
      },
    ],
    [
      'a table is taken out of the publication and put back',
      'PUBLICATION_CHANGED',
      async () => {
        await sql(`ALTER PUBLICATION ${publication()} DROP TABLE order_items`);
        await sql(`ALTER PUBLICATION ${publication()} ADD TABLE order_items`);
      },
    ],
    ['the live topic is deleted', 'LIVE_TOPIC_MISSING', () => deleteTopic(stage.environment.env.ORDERS_TOPIC)],
    [
      'the live topic is deleted and created again',
      'LIVE_TOPIC_CHANGED',
      async () => {
        await deleteTopic(stage.environment.env.ORDERS_TOPIC);
        await createTopic(stage.environment.env.ORDERS_TOPIC, 6);
      },
    ],
    [
      'the checkpoint topic is deleted',
      'CHECKPOINT_MISSING',
      () => deleteTopic(stage.environment.env.CHECKPOINT_TOPIC),
    ],
    [
      'the last published order is not in the database: a copy of the files from before',
      'CONTENTS_DIFFER',
      async () => {
        await sql('ALTER TABLE orders DISABLE TRIGGER USER; ALTER TABLE order_items DISABLE TRIGGER USER');
        await sql('DELETE FROM order_items; DELETE FROM orders');
      },
    ],
  ])('halts at its next start when %s', async (_, code, breakIt) => {
    const first = await publishSome();
    await first.stop();
    await breakIt();
    const before = await readPublished(stage);
    await placeBehind();
    await requireHalt(await stage.startReader(), code);
    await requireNothingMore(stage, before);
  });

  it.each<[string, string, () => Promise<unknown>, () => Promise<unknown>]>([
    [
      'the publication lacks a table',
      'TABLE_NOT_PUBLISHED',
      () => sql(`ALTER PUBLICATION ${publication()} DROP TABLE order_items`),
      () => sql(`ALTER PUBLICATION ${publication()} ADD TABLE order_items`),
    ],
    [
      'the publication is gone',
      'PUBLICATION_MISSING',
      () => sql(`DROP PUBLICATION ${publication()}`),
      createPublication,
    ],
  ])('waits at its next start while %s, says so, and halts once it is mended', async (_, problem, breakIt, mend) => {
    const first = await publishSome();
    await first.stop();
    const before = await readPublished(stage);
    await breakIt();
    await placeBehind();
    const reader = await stage.startReader();
    const waiting = await reader.waitForLog('reader.waiting', { deadlineMs: 30_000 });
    expect((waiting.problems as { code: string }[]).map(({ code }) => code)).toEqual([problem]);
    const { status, body } = await reader.ready();
    expect([status, body.state]).toEqual([503, 'waiting']);
    expect(reader.logs.filter(({ event }) => event === 'pipeline.halted')).toEqual([]);
    await mend();
    await stage.load.backlog({ first: 200, count: 5 });
    await requireHalt(reader, 'PUBLICATION_CHANGED');
    await requireNothingMore(stage, before);
  });

  it.each<[string, string, () => Promise<unknown>]>([
    [
      'the publication is dropped and created again',
      'PUBLICATION_CHANGED',
      async () => {
        await sql(`DROP PUBLICATION ${publication()}`);
        await createPublication();
      },
    ],
    [
      'a table is taken out of the publication',
      'PUBLICATION_CHANGED',
      () => sql(`ALTER PUBLICATION ${publication()} DROP TABLE order_items`),
    ],
    [
      'the publication publishes no inserts any more, and has another owner',
      'PUBLICATION_CHANGED',
      () =>
        sql(
          `ALTER PUBLICATION ${publication()} SET (publish = 'update'); ALTER PUBLICATION ${publication()} OWNER TO pg_monitor`,
        ),
    ],
    [
      'the live topic is deleted and created again under it',
      'LIVE_TOPIC_CHANGED',
      async () => {
        await deleteTopic(stage.environment.env.ORDERS_TOPIC);
        await createTopic(stage.environment.env.ORDERS_TOPIC, 6);
      },
    ],
  ])('halts while it runs when %s', async (name, code, breakIt) => {
    const reader = await publishSome();
    await breakIt();
    const before = await readPublished(stage);
    // Without a table an order would lack its items, which is a halt of its own.
    if (!name.startsWith('a table')) await placeBehind();
    await requireHalt(reader, code);
    await stage.load.backlog({ first: 200, count: 5 });
    expect((await reader.ready()).body.state).toBe('halted');
    await requireNothingMore(stage, before);
  });

  it('fences nobody when its database is not the one that was published from', async () => {
    const production = await publishSome();
    const other = await createPipelineStage('reader_clone');
    try {
      const { ORDER_DATABASE_URL } = other.environment.env;
      await withServer(ORDER_DATABASE_URL, (client) =>
        client.query(`SELECT pg_create_logical_replication_slot('${slotName()}_c', 'pgoutput')`),
      );
      const clone = await stage.startReader({
        more: {
          ORDER_DATABASE_URL,
          PUBLICATION_NAME: other.environment.env.PUBLICATION_NAME,
          SLOT_NAME: `${slotName()}_c`,
          CHECKPOINT_TOPIC: stage.environment.env.CHECKPOINT_TOPIC,
        },
      });
      await clone.waitForLog('pipeline.halted', { deadlineMs: 30_000 });
      await stage.load.pace({ first: 40, count: 40, ordersPerSecond: 50 });
      await stage.requireClean();
      expect(production.logs.filter(({ event }) => event === 'reader.restarting')).toEqual([]);
    } finally {
      await other.cleanUp();
    }
  });

  it('can also be repaired by a live topic and slot of new names, without any tool', async () => {
    const first = await publishSome();
    await first.stop();
    await dropSlot();
    await stage.load.backlog({ first: 40, count: 10 });
    const halted = await stage.startReader();
    await requireHalt(halted, 'SLOT_DROPPED');
    await halted.stop();
    const { id } = stage.environment;
    const again = await stage.startReader({
      more: { SLOT_NAME: `again_${id}`, ORDERS_TOPIC: `again.${id}`, CHECKPOINT_TOPIC: `again.checkpoints.${id}` },
    });
    await again.waitForLog('reader.streaming', { deadlineMs: 30_000 });
    await waitFor('every order to be published', async () => {
      const series = [...(await again.metrics())];
      return series.some(
        ([name, count]) => name.startsWith('tillstream_reader_orders_published_total') && count === 50,
      );
    });
  });
});
