// Class K, what others set: a topic that its broker compresses, roles whose sessions start with settings of somebody's,
// and a full disk where one reader spills. None of it may halt or lose anything, and only the disk may stop a reader: then
// the one with space left takes over. Each fault undoes what it has set.

import { HopelessError, waitFor } from '../../dev/process/wait-for.ts';
import { withKafkaAdmin } from '../support/kafka/admin.ts';
import { withTextClient } from '../support/oracle/facts.ts';
import type { FaultContext } from './faults.ts';
import { pause, readerState } from './pause.ts';
import type { Fault } from './plan.ts';
import { ordersTopic, readerRole, sinkRole } from './stack.ts';

const TOPIC_RESOURCE = 2; // Kafka's ConfigResource.Type.TOPIC
/** Those that Node has: the oracle reads the topic with no code of ours. test/fault/kafka/compression.test.ts has them all. */
const codecs = ['gzip', 'zstd', 'uncompressed'] as const;
/** What every session of ours sets for itself, whatever the role brings along. */
const settings = [
  "statement_timeout = '50ms'",
  "lock_timeout = '1ms'",
  "idle_in_transaction_session_timeout = '5ms'",
  'default_transaction_read_only = on',
  "default_transaction_isolation = 'serializable'",
  "search_path = 'pg_catalog'",
  "DateStyle = 'German'",
  "IntervalStyle = 'iso_8601'",
  "TimeZone = 'Asia/Kathmandu'",
  "bytea_output = 'escape'",
  'quote_all_identifiers = on',
] as const;
/** wal_sender_timeout, the retries before a reader waits, and the takeover, on a busy machine. */
const takeoverDeadlineMs = 45_000;

export async function compressTopic({ stack, signal, note }: FaultContext, fault: Fault): Promise<void> {
  const codec = codecs[Math.floor(fault.variant * codecs.length)]!;
  const set = (value: string) =>
    withKafkaAdmin(stack.kafka.directBootstrap, async (admin) => {
      const configEntries = [{ name: 'compression.type', value }];
      await admin.alterConfigs({
        validateOnly: false,
        resources: [{ type: TOPIC_RESOURCE, name: ordersTopic, configEntries }],
      });
    });
  note(`compression.type = ${codec}`);
  await set(codec);
  try {
    await pause(fault.lastsMs, signal);
  } finally {
    await set('producer');
  }
}

/** The sessions there are end, so that the next ones begin with the settings. */
export async function presetSessions({ stack, signal, note }: FaultContext, fault: Fault): Promise<void> {
  const first = Math.floor(fault.variant * settings.length);
  const chosen = [settings[first]!, settings[(first + 1 + fault.target) % settings.length]!];
  note(`ALTER ROLE … SET ${chosen.join(', ')}`);
  const places = [
    { url: stack.ordersUrl, role: readerRole },
    { url: stack.cartsUrl, role: sinkRole },
  ];
  const onBoth = async (run: (role: string) => readonly string[]) => {
    for (const { url, role } of places) {
      await withTextClient(url, async (query) => {
        for (const statement of run(role)) await query(statement);
      });
    }
  };
  const disconnect = (role: string) =>
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}'`;
  await onBoth((role) => [...chosen.map((setting) => `ALTER ROLE ${role} SET ${setting}`), disconnect(role)]);
  try {
    await pause(fault.lastsMs, signal);
  } finally {
    await onBoth((role) => [`ALTER ROLE ${role} RESET ALL`]);
  }
}

export async function fillSpillDisk({ stack, load, signal, note }: FaultContext, fault: Fault): Promise<void> {
  const [reader, other] = stack.readers;
  stack.spillDisk.fill();
  try {
    const wasStreaming = (await readerState(reader!)) === 'streaming';
    await load.copyTogether(fault.orders).catch((error: Error) => note(`COPY failed: ${error.message}`));
    if (wasStreaming) {
      await waitFor(
        `${other!.name} to take over from a reader whose disk is full`,
        async () => {
          if (signal.aborted) throw new HopelessError(signal.reason);
          const states = await Promise.all(stack.readers.map(readerState));
          if (states[1] === 'streaming') return true;
          throw new Error(`they are ${states.join(' and ')}`);
        },
        { deadlineMs: takeoverDeadlineMs, everyMs: 100 },
      );
      note(`${other!.name} has taken over`);
    }
    await pause(fault.lastsMs, signal);
  } finally {
    stack.spillDisk.free();
  }
}
