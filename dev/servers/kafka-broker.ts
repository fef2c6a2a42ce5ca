// One Kafka node (broker and KRaft controller in one process) with its data in a folder of ours. It formats its storage
// once and continues from it afterwards; stop, kill -9 and pause are real signals. It has three listeners: CLIENT, whose
// advertised port may be that of a proxy, INTERNAL, which brokers use among themselves and a test may use to look past
// that proxy, and CONTROLLER. Which nodes make a cluster is left to local-kafka.ts.

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  type ProcessExit,
  type ServerProcess,
  StopDeadlineError,
  startServerProcess,
} from '../process/child-process.ts';
import { requireFreePort } from '../process/ports.ts';
import { stopLeftover } from '../process/process-identity.ts';

export type KafkaBroker = {
  readonly id: number;
  /** Where clients connect first; they go on to `advertisedPort`. */
  readonly port: number;
  readonly advertisedPort: number;
  /** A second listener that advertises itself and is never behind a proxy. */
  readonly directPort: number;
  readonly logFile: string;
  /** The process id. Throws when it does not run. */
  pid(): number;
  /** Starts it and waits until it serves; of three nodes, a second one must be starting or running. */
  start(options?: { deadlineMs?: number }): Promise<void>;
  /** SIGTERM: hands leadership over and ends. Throws when it has not ended after `deadlineMs` (30,000). */
  stop(options?: { deadlineMs?: number }): Promise<ProcessExit>;
  kill(): Promise<ProcessExit>;
  /** SIGSTOP: keeps its connections and answers nothing until `resume`. */
  pause(): void;
  resume(): void;
  /** Stops it if it runs, by force after `deadlineMs` (10,000). The data stays. */
  close(options?: { deadlineMs?: number }): Promise<void>;
};

type KafkaBrokerPorts = { client: number; advertised: number; internal: number; controller: number };

type BrokerOptions = {
  id: number;
  directory: string;
  clusterId: string;
  ports: KafkaBrokerPorts;
  clusterSettings: Record<string, string>;
  /** More for StorageTool, as users that are there from the first start. */
  formatArguments: readonly string[];
  java: string;
  jars: string;
  jvmOptions: readonly string[];
  notice: (message: string) => void;
};

/** Prepares the node `id`; `clusterSettings` are its server properties beside those about itself. */
export function createKafkaBroker(options: BrokerOptions): KafkaBroker {
  const { id, directory, ports, java } = options;
  const what = `Kafka broker ${id}`;
  const [logFile, pidFile] = [join(directory, 'kafka.log'), join(directory, 'kafka.pid.json')];
  const dataDirectory = join(directory, 'data');
  const classPath = ['-cp', join(options.jars, '*')];
  let server: Awaited<ReturnType<typeof startServerProcess>> | undefined;

  const running = (): ServerProcess => {
    if (server === undefined || server.exit() !== undefined) throw new Error(`${what} does not run.`);
    return server;
  };

  const start: KafkaBroker['start'] = async ({ deadlineMs = 60_000 } = {}) => {
    if (server !== undefined && server.exit() === undefined) throw new Error(`${what} runs already.`);
    mkdirSync(directory, { recursive: true });
    const left = await stopLeftover(pidFile, 'SIGTERM');
    if (left !== undefined) options.notice(`Stopped ${what} (process ${left}) that an earlier run had left behind.`);
    for (const port of [ports.client, ports.internal, ports.controller]) await requireFreePort(port, what);
    await formatData(options, dataDirectory);
    const properties = writeProperties(options, 'server.properties', dataDirectory);
    const logOptions = ['defaultLogLevel=info', 'showDateTime=true', 'dateTimeFormat=HH:mm:ss.SSS'].map(
      (option) => `-Dorg.slf4j.simpleLogger.${option}`,
    );
    // Hundreds of lines at each start that repeat the file above.
    const quiet = '-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn';
    server = await startServerProcess({
      what,
      command: java,
      args: [...options.jvmOptions, ...logOptions, quiet, ...classPath, 'kafka.Kafka', properties],
      cwd: directory,
      env: process.env,
      logFile,
      pidFile,
      lastSignal: 'SIGTERM',
    });
    try {
      await server.waitForLog('Kafka Server started', deadlineMs);
    } catch (error) {
      if (server.exit() === undefined) await server.kill();
      throw error;
    }
  };

  const stop: KafkaBroker['stop'] = ({ deadlineMs = 30_000 } = {}) => running().stop('SIGTERM', deadlineMs);
  const kill = () => running().kill();
  return {
    id,
    port: ports.client,
    advertisedPort: ports.advertised,
    directPort: ports.internal,
    logFile,
    pid: () => running().pid,
    start,
    stop,
    kill,
    pause: () => running().signal('SIGSTOP'),
    resume: () => running().signal('SIGCONT'),
    async close({ deadlineMs = 10_000 } = {}) {
      if (server === undefined || server.exit() !== undefined) return;
      try {
        await stop({ deadlineMs });
      } catch (error) {
        if (!(error instanceof StopDeadlineError)) throw error;
        options.notice(`${error.message} Stopping it by force.`);
        await kill();
      }
    },
  };
}

/** Whole or not at all: into a folder beside it, then a rename. */
async function formatData(options: BrokerOptions, dataDirectory: string): Promise<void> {
  if (existsSync(join(dataDirectory, 'meta.properties'))) return;
  const unfinished = `${dataDirectory}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  const properties = writeProperties(options, 'format.properties', unfinished);
  // One argument: a random id may begin with a minus.
  const tool = [
    'kafka.tools.StorageTool',
    'format',
    `--cluster-id=${options.clusterId}`,
    '-c',
    properties,
    ...options.formatArguments,
  ];
  await promisify(execFile)(options.java, [
    '-Xshare:auto',
    '-XX:TieredStopAtLevel=1',
    '-XX:+UseSerialGC',
    '-cp',
    join(options.jars, '*'),
    ...tool,
  ]);
  renameSync(unfinished, dataDirectory);
}

/** Writes the server properties to `file`, for a node whose data is in `dataIn`; returns the file's path. */
function writeProperties(options: BrokerOptions, file: string, dataIn: string): string {
  const { id, directory, ports } = options;
  const properties = {
    'process.roles': 'broker,controller',
    'node.id': String(id),
    listeners: `CLIENT://127.0.0.1:${ports.client},INTERNAL://127.0.0.1:${ports.internal},CONTROLLER://127.0.0.1:${ports.controller}`,
    'advertised.listeners': `CLIENT://127.0.0.1:${ports.advertised},INTERNAL://127.0.0.1:${ports.internal}`,
    'listener.security.protocol.map': 'CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'INTERNAL',
    'controller.listener.names': 'CONTROLLER',
    ...options.clusterSettings,
    'log.dirs': dataIn,
  };
  const path = join(directory, file);
  // A backslash starts an escape in this format.
  const lines = Object.entries(properties).map(([name, value]) => `${name}=${value.replaceAll('\\', '\\\\')}`);
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}
