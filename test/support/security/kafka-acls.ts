// Kafka's own kafka-acls.sh and kafka-configs.sh without a distribution: the classes that they start are in a jar which no broker
// needs, fetched once from Maven Central beside the broker's. Guarantees: the scripts of ops/kafka/ are run as an administrator
// runs them. Grants are taken away through kafkajs.
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { type AclEntry, AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } from 'kafkajs';
import { makeWhole } from '../../../dev/servers/cache-directory.ts';
import { fetchKafka, requireJava } from '../../../dev/servers/fetch-kafka.ts';
import { withKafkaAdmin } from '../kafka/admin.ts';

const run = promisify(execFile);
const script = join(import.meta.dirname, '..', '..', '..', 'ops', 'kafka', 'acls.sh');

const commands = { 'kafka-acls.sh': 'AclCommand', 'kafka-configs.sh': 'ConfigCommand' } as const;

/** Writes the command `name` into `directory`; returns its path. */
export async function makeKafkaCommand(directory: string, name: keyof typeof commands): Promise<string> {
  const [java, jars] = [await requireJava(), await fetchKafka({})];
  const version = /^kafka-(.+)$/.exec(basename(jars))![1]!;
  const tools = `${jars}-tools`;
  if (!existsSync(tools)) {
    await makeWhole(tools, async (unfinished) => {
      const artifact = `-Dartifact=org.apache.kafka:kafka-tools:${version}`;
      const target = `-DoutputDirectory=${join(unfinished, 'jars')}`;
      await run('mvn', ['--batch-mode', '--quiet', 'dependency:copy', artifact, target], { cwd: unfinished });
      return join(unfinished, 'jars');
    });
  }
  mkdirSync(directory, { recursive: true });
  const command = join(directory, name);
  const quick = '-Xshare:auto -XX:TieredStopAtLevel=1 -XX:+UseSerialGC';
  const classes = `'${join(tools, '*')}:${join(jars, '*')}'`;
  const start = `exec '${java}' ${quick} -cp ${classes} org.apache.kafka.tools.${commands[name]}`;
  writeFileSync(command, `#!/bin/sh\n${start} "$@"\n`);
  chmodSync(command, 0o755);
  return command;
}

/** Runs ops/kafka/acls.sh with these variables; returns what it printed. */
export async function grantAcls(env: Readonly<Record<string, string>>): Promise<string> {
  const { stdout } = await run(script, [], { env: { PATH: process.env.PATH, ...env } });
  return stdout;
}

export type Grant = Pick<AclEntry, 'principal' | 'resourceType' | 'resourceName' | 'operation'>;

/** All grants, sorted; `brokers` of a listener whose clients may do everything. */
export async function listGrants(brokers: string): Promise<string[]> {
  const { resources } = await withKafkaAdmin(brokers, (admin) =>
    admin.describeAcls({
      resourceType: AclResourceTypes.ANY,
      resourcePatternType: ResourcePatternTypes.ANY,
      operation: AclOperationTypes.ANY,
      permissionType: AclPermissionTypes.ANY,
    }),
  );
  return resources
    .flatMap(({ resourceType, resourceName, acls }) =>
      acls.map(
        ({ principal, operation }) =>
          `${principal} ${AclOperationTypes[operation]} ${AclResourceTypes[resourceType]} ${resourceName}`,
      ),
    )
    .toSorted();
}

export async function changeGrant(brokers: string, what: 'take' | 'give', grant: Grant): Promise<void> {
  const acl = {
    ...grant,
    host: '*',
    permissionType: AclPermissionTypes.ALLOW,
    resourcePatternType: ResourcePatternTypes.LITERAL,
  };
  await withKafkaAdmin(brokers, async (admin) => {
    if (what === 'give') await admin.createAcls({ acl: [acl] });
    else await admin.deleteAcls({ filters: [acl] });
  });
}
