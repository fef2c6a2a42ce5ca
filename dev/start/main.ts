// `npm start`: the whole of Tillstream on this machine, for trying it out. Starts the servers that the environment does
// not name, migrates their databases, starts the three services, plays one sample order, prints where everything is and how to
// use it, and stays up. Guarantees: Ctrl-C, once or often, stops services, then Kafka, then Postgres, and ends with 0; the next
// start continues with the same data; if it is killed, guards stop everything (child-process.ts). Bad configuration ends with 78.

import { join, relative } from 'node:path';
import { unlessAborted } from '#service/deadline.ts';
import { ConfigurationError } from '#service/environment.ts';
import { migrateOwnDatabases } from './database-roles.ts';
import { requireStackPorts, startLocalServers } from './local-servers.ts';
import { playSample } from './sample.ts';
import { serviceEnvironment } from './service-environment.ts';
import { readStackConfig, type StackConfig } from './stack-config.ts';
import { claimStackFolder, stackPaths } from './stack-folder.ts';
import { formatAddresses, formatByHand, formatCurlLines, formatGiven, formatSample } from './start-messages.ts';
import {
  type ReadyBody,
  ServiceStartError,
  type SupervisedService,
  startSupervisedService,
} from './supervised-service.ts';

const exitBadConfiguration = 78;
const oldestNode = 26;
const sampleDeadlineMs = 30_000;
const repository = join(import.meta.dirname, '..', '..');
const stopping = new AbortController();
const say = (message: string) => console.log(message);

const readyWhen: Readonly<Record<string, (body: ReadyBody) => boolean>> = {
  'order-api': ({ status }) => status === 200,
  'cdc-reader': ({ status }) => status === 200,
  // Carts are served before orders are consumed; the sample needs both.
  'cart-sink': ({ status, pipeline, partitions }) =>
    status === 200 && pipeline === 'consuming' && partitions?.length !== 0,
};

const startPage = { 'order-api': '/docs', 'cdc-reader': '/metrics', 'cart-sink': '/docs' } as const;

/** Starts everything, and returns when told to stop and all has stopped. */
async function run(config: StackConfig): Promise<void> {
  const { home } = config;
  const { signal } = stopping;
  const paths = stackPaths(home);
  const startedMs = performance.now();
  await using resources = new AsyncDisposableStack();
  resources.defer(await claimStackFolder(home, say));
  say(`Data and logs are in ${relative(process.cwd(), home) || '.'}; this start takes some seconds.`);
  await requireStackPorts(config);
  say(`Starting ${config.wantedPorts.map(({ what, port }) => `${what} (${port})`).join(', ')}.`);
  const servers = await startLocalServers({ config, resources, signal, say });
  await migrateOwnDatabases(config, repository);
  for (const warning of formatGiven(config)) say(warning);
  const services = await startServices(config, resources, paths);
  await Promise.all(services.map((service) => service.waitReady(readyWhen[service.plan.name]!, signal)));
  say(`All three services are ready after ${((performance.now() - startedMs) / 1_000).toFixed(1)} s.\n`);

  const now = Date.now().toString(36);
  const url = (name: string) => config.services.find((service) => service.name === name)!.url;
  const [orderApiUrl, cartSinkUrl] = [url('order-api'), url('cart-sink')];
  const play = (userId: string) =>
    playSample({ orderApiUrl, cartSinkUrl, userId, deadlineMs: sampleDeadlineMs, signal });
  const sample = await play(`sample-${now}`);
  const { afterOrderMs: againMs } = await play(`again-${now}`);
  say(`${formatSample(`sample-${now}`, sample, againMs)}\n`);
  const running = [
    ...services.map(({ plan, pid }) => ({ what: plan.name, url: plan.url + startPage[plan.name], pid: pid() })),
    ...servers.map(({ what, pid }) => ({ what, pid: pid() })),
  ];
  say(`${formatAddresses(running, config.connections)}\n`);
  say(`${formatCurlLines(config.services, `you-${now}`)}\n`);
  say(`${formatByHand(config)}\n`);
  say('Everything stays up until Ctrl-C.');
  await unlessAborted(new Promise<never>(() => undefined), signal);
}

async function startServices(
  config: StackConfig,
  resources: AsyncDisposableStack,
  paths: ReturnType<typeof stackPaths>,
): Promise<readonly SupervisedService[]> {
  const services: SupervisedService[] = [];
  // All at once: they need nothing of each other to drain.
  resources.defer(async () => {
    await Promise.all(services.map((service) => service.close()));
  });
  for (const plan of config.services) {
    services.push(
      await startSupervisedService({
        plan,
        env: serviceEnvironment(plan, process.env, config),
        repository,
        logFolder: paths.logs,
        pidFolder: paths.services,
        say,
      }),
    );
  }
  return services;
}

/** The exit code for what ended the run, after having said what that was. */
function report(error: unknown): number {
  if (stopping.signal.aborted && error === stopping.signal.reason) return 0;
  if (error instanceof SuppressedError) return Math.max(report(error.suppressed), report(error.error));
  if (error instanceof ConfigurationError) {
    console.error(`npm start: bad configuration\n${error.problems.map((problem) => `  - ${problem}`).join('\n')}`);
    return exitBadConfiguration;
  }
  const { message, stack } = error as Error;
  console.error(`\nnpm start could not go on. ${'code' in (error as Error) ? message : stack}`);
  return error instanceof ServiceStartError && error.exitCode === exitBadConfiguration ? exitBadConfiguration : 1;
}

function stop(): void {
  // A terminal's Ctrl-C arrives twice, from the terminal and from npm, and people press it again.
  if (stopping.signal.aborted) return;
  say('\nStopping the services, then Kafka, then Postgres …');
  stopping.abort();
}

if (Number.parseInt(process.versions.node, 10) < oldestNode) {
  console.error(
    `This is Node ${process.versions.node}, and Tillstream needs ${oldestNode}. Use npm start, which brings it (after npm ci).`,
  );
  process.exit(1);
}
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop);
// A terminal that is gone takes no more messages, and that is no reason not to stop in order.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

let exitCode = 0;
try {
  await run(readStackConfig(process.env, repository));
} catch (error) {
  exitCode = report(error);
}
if (stopping.signal.aborted && exitCode === 0) say('Everything has stopped. The data stays for the next npm start.');
process.exit(exitCode);
