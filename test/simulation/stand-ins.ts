// Puts models in the place of I/O, and of nothing else: the modules that open connections, the sink's statements and the
// clock. To be imported before any module of the services. Everything between them is the program as it is shipped.
import { vi } from 'vitest';

vi.mock('node:timers/promises', async (importActual) => {
  const { stage } = await import('./stage.ts');
  return {
    ...(await importActual<object>()),
    setTimeout: (ms: number, value: unknown, options?: { signal?: AbortSignal }) =>
      stage.world.delay(ms, value, options),
  };
});

vi.mock('../../cdc-reader/postgres/replication-stream.ts', async () => {
  const { standIn } = await import('./stage.ts');
  return { createReplicationStream: standIn('createReplicationStream') };
});
vi.mock('../../cdc-reader/postgres/source-session.ts', async () => {
  const { standIn } = await import('./stage.ts');
  return { createSourceSession: standIn('createSourceSession') };
});
vi.mock('../../cdc-reader/startup/preflight.ts', () => ({
  findPreflightProblems: () => [],
  findPreflightWarnings: () => [],
}));
vi.mock('../../cdc-reader/postgres/slot.ts', async () => {
  const { standIn } = await import('./stage.ts');
  return {
    createSlot: standIn('createSlot'),
    dropSlot: standIn('dropSlot'),
    readIdentity: standIn('readIdentity'),
  };
});
vi.mock('../../cdc-reader/postgres/snapshot.ts', async () => {
  const { standIn } = await import('./stage.ts');
  return { readSnapshotOrders: standIn('readSnapshotOrders') };
});
vi.mock('../../cdc-reader/replay-window/upkeep.ts', () => ({
  startReplayUpkeep: () => ({ published: () => undefined, close: async () => undefined }),
}));
vi.mock('../../cdc-reader/supervise/lag-sampler.ts', () => ({ startLagSampler: () => ({ close: () => undefined }) }));
vi.mock('../../cdc-reader/startup/kafka-connection.ts', async () => {
  const { standIn } = await import('./stage.ts');
  return { READ_DEADLINE_MS: 10_000, openKafka: standIn('openKafka'), fence: standIn('fence') };
});

vi.mock('../../kafka/connections.ts', () => ({ createConnections: () => ({ close: () => undefined }) }));
vi.mock('../../kafka/client.ts', async (importActual) => ({
  ...(await importActual<object>()),
  createKafkaClient: () => ({}),
}));
vi.mock('../../kafka/reading/log.ts', async () => {
  const { standIn } = await import('./stage.ts');
  return { createKafkaLog: standIn('createKafkaLog') };
});
vi.mock('../../kafka/wait-for-topics.ts', async () => {
  const { standIn } = await import('./stage.ts');
  return { waitForTopics: standIn('waitForTopics') };
});
vi.mock('../../kafka/reading/group-consumer.ts', async () => {
  const { standIn } = await import('./stage.ts');
  return { createGroupConsumer: standIn('createGroupConsumer') };
});

/**
 * Every statement of a file becomes its name and its arguments, which the model of the carts database understands. What reads
 * a result stays.
 */
const asModels = vi.hoisted(() => async (importActual: () => Promise<object>) => {
  const functions = Object.entries(await importActual());
  return Object.fromEntries(
    functions.map(([name, actual]) => [
      name,
      name.startsWith('parse') ? actual : (...args: unknown[]) => ({ name, args }),
    ]),
  );
});
vi.mock('../../cart-sink/sql/applied-orders.ts', asModels);
vi.mock('../../cart-sink/sql/cart-lines.ts', asModels);
vi.mock('../../cart-sink/sql/cart-removals.ts', asModels);
vi.mock('../../cart-sink/sql/consumer-offsets.ts', asModels);
vi.mock('../../cart-sink/sql/parked-events.ts', asModels);
