// `npm run test:kafka-versions [-- 3.9]`: runs the files below on every version of Kafka that dev/servers/server-versions.ts
// names, from Maven Central, and prints a line for each. Exit code 0 only when everything passed on each.

import { kafkaVersions, kafkaVersionVariable } from '../../dev/servers/server-versions.ts';
import { readVersions, runVitest } from '../support/process/run-vitest.ts';

/** The way of an order, and all that asks a broker for more than records: transactions, topic ids, compression, groups. */
const files = [
  'test/contract/kafkajs-consumer.test.ts',
  'test/contract/kafkajs-producer.test.ts',
  'test/fault/kafka/topic-ids.test.ts',
  'test/integration/cdc-reader/reader-topics.test.ts',
  'test/integration/kafka/compression.test.ts',
  'test/integration/kafka/log.test.ts',
  'test/integration/kafka/transactional-producer.test.ts',
  'test/integration/pipeline.test.ts',
  'test/integration/tools/adopt.test.ts',
  'test/integration/tools/replay.test.ts',
];

for (const version of readVersions('Kafka', Object.keys(kafkaVersions), process.argv.slice(2))) {
  const { passed, line } = await runVitest(`Kafka ${kafkaVersions[version]}`, files, {
    [kafkaVersionVariable]: version,
  });
  console.log(line);
  if (!passed) process.exitCode = 1;
}
