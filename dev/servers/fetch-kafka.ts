// Apache Kafka's broker from Maven Central, fetched once per user and version into a cache outside the repository.
// Guarantees: the cache folder is complete when it exists (downloaded beside it, then renamed), also with two processes
// at once, and once it exists neither Maven nor a network is needed. What is missing on the machine (Java, Maven) is an
// error that names both ways out. Running a broker is left to kafka-broker.ts.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeWhole, userCacheDirectory } from './cache-directory.ts';
import { wantedKafkaVersion } from './server-versions.ts';

const run = promisify(execFile);

const oldestJava = 17;
const fetchDeadlineMs = 300_000;

/** Java or Maven, which a local Kafka needs, is missing or too old. */
export class KafkaPrerequisiteError extends Error {
  readonly code = 'kafka_prerequisite';

  constructor(problem: string, options?: ErrorOptions) {
    super(
      `A local Kafka can't be started: ${problem}. Either install what is missing (Java ${oldestJava} or newer and Maven, ` +
        `for example: apt-get install default-jre-headless maven), or set KAFKA_BROKERS to a Kafka of your own, ` +
        `for example KAFKA_BROKERS=localhost:9092.`,
      options,
    );
    this.name = 'KafkaPrerequisiteError';
  }
}

/** Returns the command that runs Java: `java`, else that of JAVA_HOME, else the one on PATH. Throws {@link KafkaPrerequisiteError}. */
export async function requireJava(java = javaFromEnvironment()): Promise<string> {
  let output: string;
  try {
    // Java prints its version to stderr.
    const { stdout, stderr } = await run(java, ['-version']);
    output = stderr + stdout;
  } catch (cause) {
    throw new KafkaPrerequisiteError(`there is no working Java (${java} -version failed)`, { cause });
  }
  const version = /version "(?:1\.)?(\d+)/.exec(output)?.[1];
  if (version === undefined)
    throw new KafkaPrerequisiteError(`${java} -version does not say which Java it is: ${output}`);
  if (Number(version) < oldestJava) throw new KafkaPrerequisiteError(`${java} is Java ${version}, which is too old`);
  return java;
}

/**
 * Returns the folder that holds the broker's jars, fetching them with `maven` unless they are cached. Throws
 * {@link KafkaPrerequisiteError} without Maven, and Maven's own words when it can't fetch them.
 */
export async function fetchKafka(options: {
  cacheDirectory?: string;
  maven?: string;
  onNotice?: (message: string) => void;
}): Promise<string> {
  const { cacheDirectory = userCacheDirectory(), maven = 'mvn', onNotice = () => undefined } = options;
  const kafkaVersion = wantedKafkaVersion();
  const jars = join(cacheDirectory, `kafka-${kafkaVersion}`);
  if (existsSync(jars)) return jars;
  try {
    await run(maven, ['--version']);
  } catch (cause) {
    throw new KafkaPrerequisiteError(`there is no working Maven (${maven} --version failed), which fetches it`, {
      cause,
    });
  }
  onNotice(`Fetching Apache Kafka ${kafkaVersion} (45 MB) from Maven Central, once, into ${jars}.`);
  await makeWhole(jars, async (unfinished) => {
    const pom = join(import.meta.dirname, 'kafka.pom.xml');
    const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${join(unfinished, 'jars')}`];
    // The property goes over the one in the pom.
    const flags = ['--batch-mode', '--quiet', '--file', pom, `-Dkafka.version=${kafkaVersion}`];
    await run(maven, [...flags, ...goal], { timeout: fetchDeadlineMs, cwd: unfinished }).catch((cause) => {
      throw fetchError(kafkaVersion, cause);
    });
    return join(unfinished, 'jars');
  });
  return jars;
}

function fetchError(kafkaVersion: string, cause: unknown): Error {
  const { stdout = '', message } = cause as { stdout?: string; message: string };
  return new Error(
    `Maven could not fetch Apache Kafka ${kafkaVersion}: ${stdout.trim().slice(0, 2_000) || message}\n` +
      `Check the network or Maven's settings (proxy, mirror), or set KAFKA_BROKERS to a Kafka of your own.`,
    { cause },
  );
}

function javaFromEnvironment(): string {
  const home = process.env.JAVA_HOME;
  return home ? join(home, 'bin', 'java') : 'java';
}
