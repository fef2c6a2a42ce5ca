// What compose.yaml deploys beside the services, on this machine: two Postgres and a Kafka with the settings, certificates, users
// and rules that their containers get, made by the same scripts. Guarantees: what is replaced are addresses and paths, and
// Kafka has one more listener, for the oracle, which reads topics and nothing else. The images themselves are not run: what
// they do with settings is their own code where that is on Maven Central (KafkaDockerWrapper), else not shown.
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, cpSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs';
import { createKafkaClient } from '#kafka/client.ts';
import { kafkaOf, kafkaVariables } from '#kafka/variables.ts';
import { readEnvironment } from '#service/environment.ts';
import { freePort } from '../../dev/process/ports.ts';
import { fetchKafka, requireJava } from '../../dev/servers/fetch-kafka.ts';
import { createLocalKafka, type LocalKafka } from '../../dev/servers/local-kafka.ts';
import { createLocalPostgres, type LocalPostgres } from '../../dev/servers/local-postgres.ts';
import { removePostgresData } from '../../dev/servers/postgres-data.ts';
import { silentLogger, withKafkaAdmin } from '../support/kafka/admin.ts';
import { makeKafkaCommand } from '../support/security/kafka-acls.ts';
import { withServer } from '../support/stack/environment.ts';
import { environmentOf, readDotEnv, repository, serviceOf } from './compose-file.ts';

const run = promisify(execFile);
const databases = { 'orders-db': 'orders', 'carts-db': 'carts' } as const;
type DatabaseService = keyof typeof databases;
/** Those of compose.yaml. */
const kafkaPorts = [9092, 9093, 9094, 9095];
/** Made while the volume's broker had neither TLS nor logins. */
export const topicOfBefore = 'of.before';

export interface Deployment {
  /** Beside compose.yaml: certificates/, ops/. */
  readonly directory: string;
  /** The variables of a service of compose.yaml, with this machine's addresses. */
  variablesOf(service: string): Record<string, string>;
  /** Of the superuser. */
  databaseUrl(service: DatabaseService): string;
  /** Kafka's listener for the oracle. */
  readonly oracleBroker: string;
  close(): Promise<void>;
}

/** What serve-with-tls.sh hands to the server, `-c name=value`. */
function settingsOf(args: readonly string[]): Record<string, string> {
  const values = args.filter((_, index) => args[index - 1] === '-c').map((setting) => setting.split('='));
  return Object.fromEntries(values as [string, string][]);
}

/** `serverArguments`: those that the entry point of Postgres hands on, for `command` of compose.yaml. */
export async function startDeployment(
  directory: string,
  serverArguments: (service: DatabaseService) => Promise<readonly string[]>,
): Promise<Deployment> {
  cpSync(join(repository, 'ops'), join(directory, 'ops'), { recursive: true });
  execFileSync(join(directory, 'ops', 'make-env.sh'));
  const dotEnv = readDotEnv(join(directory, '.env'));
  const postgres = new Map<DatabaseService, LocalPostgres>();
  const ports = new Map<number, number>();
  for (const port of kafkaPorts) ports.set(port, await freePort());
  const oraclePort = await freePort();

  const address = (value: string) =>
    value
      .replaceAll(/(orders-db|carts-db):5432/g, (_, name) => `127.0.0.1:${postgres.get(name)!.port}`)
      .replaceAll(/kafka:(909\d)/g, (_, port) => `127.0.0.1:${ports.get(Number(port))}`)
      .replaceAll(/(:\/\/|localhost|127\.0\.0\.1):(909\d)/g, (_, host: string, port: string) => {
        return `${host === '://' ? '://127.0.0.1' : host}:${ports.get(Number(port))}`;
      });
  const variablesOf = (service: string) =>
    Object.fromEntries(Object.entries(environmentOf(service, dotEnv)).map(([name, value]) => [name, address(value)]));
  /** For what runs outside of containers here. */
  const localVariablesOf = (service: string, certificates: string) =>
    Object.fromEntries(
      Object.entries(variablesOf(service)).map(([name, value]) => [
        name,
        value.replaceAll('/certificates/', `${join(directory, 'certificates', certificates)}/`),
      ]),
    );
  const password = environmentOf('orders-db', dotEnv).POSTGRES_PASSWORD!;
  const deployment: { kafka?: LocalKafka } = {};
  const close = async () => {
    await Promise.all([...[...postgres.values()].map((server) => server.close()), deployment.kafka?.kill()]);
    for (const name of postgres.keys()) removePostgresData(join(directory, name));
  };
  try {
    for (const name of ['orders-db', 'carts-db'] as const) {
      const settings = settingsOf(await serverArguments(name));
      postgres.set(name, await startPostgres({ directory, name, settings, password }));
    }
    await makeVolumeOfBefore(join(directory, 'kafka'));
    const settings = await kafkaSettings(directory, localVariablesOf('kafka', 'kafka'));
    deployment.kafka = await createLocalKafka({
      directory: join(directory, 'kafka'),
      settings: withOracleListener(settings, oraclePort),
    });
    await deployment.kafka.start();
    const access = localVariablesOf('kafka-access', 'authority');
    access.KAFKA_CONFIGS = await makeKafkaCommand(join(directory, 'bin'), 'kafka-configs.sh');
    access.KAFKA_ACLS = await makeKafkaCommand(join(directory, 'bin'), 'kafka-acls.sh');
    await run(join(directory, 'ops', 'kafka', 'users-and-acls.sh'), [], { env: { PATH: process.env.PATH, ...access } });
    await letOracleRead(access);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    directory,
    variablesOf,
    databaseUrl: (name) =>
      `postgres://postgres:${password}@127.0.0.1:${postgres.get(name)!.port}/${databases[name]}` +
      `?sslmode=verify-full&sslrootcert=${join(directory, 'certificates', 'authority', 'ca.crt')}`,
    oracleBroker: `127.0.0.1:${oraclePort}`,
    close,
  };
}

/** Runs `roles` or `grants`, by this machine's psql. */
export async function applyComposeRoles(deployment: Deployment): Promise<void> {
  const variables = deployment.variablesOf('roles');
  variables.PGSSLROOTCERT = join(deployment.directory, 'certificates', 'authority', 'ca.crt');
  const script = join(deployment.directory, 'ops', 'postgres', 'roles-with-passwords.sh');
  await run(script, [], { env: { PATH: process.env.PATH, ...variables } });
}

/** First without TLS and logins, as the image fills an empty volume and as earlier versions were; then as its container serves. */
async function startPostgres(options: {
  directory: string;
  name: DatabaseService;
  settings: Record<string, string>;
  password: string;
}): Promise<LocalPostgres> {
  const { directory, name, settings, password } = options;
  const postgres = await createLocalPostgres({ directory: join(directory, name), settings: { fsync: 'off' } });
  await postgres.start();
  await postgres.createDatabase(databases[name]);
  await withServer(postgres.url('postgres'), (client) => client.query(`ALTER ROLE postgres PASSWORD '${password}'`));
  await postgres.stop('fast');
  const { uid, gid } = statSync(postgres.dataDirectory);
  const tls = join(postgres.dataDirectory, 'tls');
  mkdirSync(tls);
  const put = (from: string, file: string) => {
    copyFileSync(join(directory, from, file), join(tls, file));
    chmodSync(join(tls, file), 0o600);
    chownSync(join(tls, file), uid, gid);
  };
  chownSync(tls, uid, gid);
  for (const file of ['server.crt', 'server.key']) put(join('certificates', name), file);
  put(join('ops', 'postgres'), 'pg_hba.conf');
  const there = Object.entries(settings).map(([setting, value]) => [setting, value.replace('/run/tls', tls)]);
  await postgres.start({ settings: Object.fromEntries(there) });
  return postgres;
}

/** A broker as compose.yaml had it before: plain, and without an authorizer. */
async function makeVolumeOfBefore(directory: string): Promise<void> {
  const kafka = await createLocalKafka({ directory });
  await kafka.start();
  try {
    await withKafkaAdmin(kafka.bootstrap, (admin) => admin.createTopics({ topics: [{ topic: topicOfBefore }] }));
  } finally {
    await kafka.close();
  }
}

/** The settings that the image makes of its variables, by the class that makes them in the image. */
async function kafkaSettings(directory: string, variables: Record<string, string>): Promise<Record<string, string>> {
  const [java, jars, home] = [await requireJava(), await fetchKafka({}), join(directory, 'kafka-image')];
  const folders = ['default-configs', 'mounted-configs', 'final-configs'];
  for (const folder of folders) mkdirSync(join(home, folder), { recursive: true });
  const classPath = ['-XX:TieredStopAtLevel=1', '-cp', join(jars, '*'), 'kafka.docker.KafkaDockerWrapper', 'setup'];
  const args = folders.flatMap((folder) => [`--${folder}-dir`, join(home, folder)]);
  // A default of the image (docker/resources/common-scripts/configureDefaults).
  const cluster = { CLUSTER_ID: '5L6g3nShT-eMCtK--X86sw', KAFKA_LOG_DIRS: join(home, 'data') };
  await run(java, [...classPath, ...args], { env: { PATH: process.env.PATH, ...variables, ...cluster } });
  const lines = readFileSync(join(home, 'final-configs', 'server.properties'), 'utf8').split('\n');
  return Object.fromEntries(
    lines.filter((line) => line !== '').map((line) => [line.split('=', 1)[0]!, line.replace(/^[^=]*=/, '')]),
  );
}

function withOracleListener(settings: Record<string, string>, port: number): Record<string, string> {
  const more: Record<string, string> = {
    listeners: `ORACLE://127.0.0.1:${port}`,
    'advertised.listeners': `ORACLE://127.0.0.1:${port}`,
    'listener.security.protocol.map': 'ORACLE:PLAINTEXT',
  };
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [
      name,
      more[name] === undefined ? value : `${value},${more[name]}`,
    ]),
  );
}

/** By the grants of an administrator, not by a setting that compose.yaml lacks. */
async function letOracleRead(access: Record<string, string>): Promise<void> {
  const login = {
    KAFKA_BROKERS: access.KAFKA_BROKERS!,
    KAFKA_SSL_CA_LOCATION: access.KAFKA_SSL_CA_LOCATION!,
    KAFKA_SECURITY_PROTOCOL: 'sasl_ssl',
    KAFKA_SASL_MECHANISM: 'PLAIN',
    KAFKA_SASL_USERNAME: 'admin',
    KAFKA_SASL_PASSWORD: access.KAFKA_ADMIN_PASSWORD!,
  };
  const kafka = kafkaOf(readEnvironment(kafkaVariables, login));
  const admin = createKafkaClient({ kafka, clientId: 'test', logger: silentLogger }).admin();
  await admin.connect();
  await admin
    .createAcls({
      acl: [
        {
          principal: 'User:ANONYMOUS',
          host: '127.0.0.1',
          operation: AclOperationTypes.READ,
          permissionType: AclPermissionTypes.ALLOW,
          resourceType: AclResourceTypes.TOPIC,
          resourceName: '*',
          resourcePatternType: ResourcePatternTypes.LITERAL,
        },
      ],
    })
    .finally(() => admin.disconnect());
}

/** Options for the mounts of a service of compose.yaml: folders of this deployment's, and volumes where they have a prefix. */
export function mountsOf(directory: string, service: string, volumePrefix?: string): string[] {
  return (serviceOf(service).volumes ?? []).flatMap((volume) => {
    if (volume.startsWith('./')) return ['--volume', join(directory, volume)];
    return volumePrefix === undefined ? [] : ['--volume', `${volumePrefix}-${volume}`];
  });
}
