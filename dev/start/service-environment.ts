// The environment of each service of `npm start`: ours, with what the stack decides on top. Guarantees: on a server of the stack's
// own a service has its own role, with what that role may do (ops/postgres/roles.sql), and migrates nothing; with a given URL it
// has that URL's role, and migrates as its variables say.

import { commonVariables } from '#service/environment.ts';
import { apiVariables } from '#service/http/variables.ts';

export type ServiceName = 'order-api' | 'cdc-reader' | 'cart-sink';
export type DatabaseVariable = 'ORDER_DATABASE_URL' | 'CART_DATABASE_URL';
export type ServicePlan = { readonly name: ServiceName; readonly port: number; readonly url: string };
export type StackConnections = {
  /** Where the servers are, own (as the superuser) or given; a URL that stands in a file stays there. */
  readonly connections: Readonly<Partial<Record<DatabaseVariable, string>> & Record<'KAFKA_BROKERS', string>>;
  /** Of these, the databases on servers of its own. */
  readonly ownDatabases: Readonly<Partial<Record<DatabaseVariable, string>>>;
};

const serviceRoles: Readonly<Record<ServiceName, readonly [DatabaseVariable, string]>> = {
  'order-api': ['ORDER_DATABASE_URL', 'order_api'],
  'cdc-reader': ['ORDER_DATABASE_URL', 'reader'],
  'cart-sink': ['CART_DATABASE_URL', 'cart_sink'],
};
/** With these, an operator's commands may do all that they do. */
const toolRoles: Readonly<Record<DatabaseVariable, string>> = {
  ORDER_DATABASE_URL: 'reader',
  CART_DATABASE_URL: 'migrator',
};

/** One port each, on loopback only, for no load balancer; the sample and the lines to paste have no tokens. */
export const openOnLoopback = Object.fromEntries(
  [...Object.values(apiVariables), commonVariables.shutdownDelayMs].map(({ name }) => [name, '']),
);

/** The whole environment of a service: ours (LOG_LEVEL, ORDERS_TOPIC, …), with what the stack decides on top. */
export function serviceEnvironment(
  { name, port }: ServicePlan,
  env: Readonly<Record<string, string | undefined>>,
  config: StackConnections & { readonly services: readonly ServicePlan[] },
): Record<string, string | undefined> {
  const { KAFKA_BROKERS } = config.connections;
  const database = serviceDatabase(name, config);
  const others = name === 'cdc-reader' ? operationsUrls(config.services) : {};
  return { ...env, KAFKA_BROKERS, ...database, ...openOnLoopback, ...others, HOST: '127.0.0.1', PORT: String(port) };
}

/** Where the console, and the commands that ask the services, find their health and metrics. */
function operationsUrls(services: readonly ServicePlan[]): Readonly<Record<string, string>> {
  const url = (wanted: ServiceName) => services.find(({ name }) => name === wanted)!.url;
  return { ORDER_API_OPERATIONS_URL: url('order-api'), CART_SINK_OPERATIONS_URLS: url('cart-sink') };
}

/** What leads a service to its own database; nothing where that is given. */
export function serviceDatabase(
  name: ServiceName,
  { ownDatabases }: Pick<StackConnections, 'ownDatabases'>,
): Readonly<Record<string, string>> {
  const [variable, role] = serviceRoles[name];
  const database = ownDatabases[variable];
  return database === undefined ? {} : { [variable]: withRole(database, role), MIGRATE: 'off' };
}

/** Where all servers are, for an operator's commands. */
export function toolConnections({ connections, ownDatabases }: StackConnections): Readonly<Record<string, string>> {
  const own = Object.entries(ownDatabases).map(([name, url]) => [
    name,
    withRole(url, toolRoles[name as DatabaseVariable]),
  ]);
  return { ...connections, ...Object.fromEntries(own) };
}

/** The same database as another role; the stack's own servers ask for no password. */
export function withRole(databaseUrl: string, role: string): string {
  const url = new URL(databaseUrl);
  url.username = role;
  return url.href;
}
