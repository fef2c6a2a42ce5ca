// The whole of Tillstream on this machine: the servers that the environment does not name, their databases migrated, and the
// three services, all ready. Guarantees: whatever was started is handed to `resources`, also when this throws; services and
// servers that end are started again until then. What is done with them is the caller's: npm start, npm run demo.
import { join, relative } from 'node:path';
import { migrateOwnDatabases } from './database-roles.ts';
import type { Restartable } from './keep-running.ts';
import { requireStackPorts, startLocalServers } from './local-servers.ts';
import { serviceEnvironment } from './service-environment.ts';
import type { StackConfig } from './stack-config.ts';
import { claimStackFolder, stackPaths } from './stack-folder.ts';
import { formatGiven } from './start-messages.ts';
import { type ReadyBody, type SupervisedService, startSupervisedService } from './supervised-service.ts';

const repository = join(import.meta.dirname, '..', '..');

const readyWhen: Readonly<Record<string, (body: ReadyBody) => boolean>> = {
  'order-api': ({ status }) => status === 200,
  'cdc-reader': ({ status }) => status === 200,
  // Carts are served before orders are consumed; the sample needs both.
  'cart-sink': ({ status, pipeline, partitions }) =>
    status === 200 && pipeline === 'consuming' && partitions?.length !== 0,
};

export interface Stack {
  readonly services: readonly SupervisedService[];
  /** Its own; those that the environment names are not here. */
  readonly servers: readonly Restartable[];
  readonly orderApiUrl: string;
  readonly cartSinkUrl: string;
}

/** `signal` ends the waits of the start. */
export async function startStack(options: {
  config: StackConfig;
  resources: AsyncDisposableStack;
  signal: AbortSignal;
  say: (message: string) => void;
}): Promise<Stack> {
  const { config, resources, signal, say } = options;
  const { home } = config;
  const startedMs = performance.now();
  resources.defer(await claimStackFolder(home, say));
  say(`Data and logs are in ${relative(process.cwd(), home) || '.'}; this start takes some seconds.`);
  await requireStackPorts(config);
  say(`Starting ${config.wantedPorts.map(({ what, port }) => `${what} (${port})`).join(', ')}.`);
  const servers = await startLocalServers(options);
  await migrateOwnDatabases(config, repository);
  for (const warning of formatGiven(config)) say(warning);
  const services = await startServices(config, resources, say);
  await Promise.all(services.map((service) => service.waitReady(readyWhen[service.plan.name]!, signal)));
  say(`All three services are ready after ${((performance.now() - startedMs) / 1_000).toFixed(1)} s.\n`);
  const url = (name: string) => config.services.find((service) => service.name === name)!.url;
  return { services, servers, orderApiUrl: url('order-api'), cartSinkUrl: url('cart-sink') };
}

async function startServices(
  config: StackConfig,
  resources: AsyncDisposableStack,
  say: (message: string) => void,
): Promise<readonly SupervisedService[]> {
  const paths = stackPaths(config.home);
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
