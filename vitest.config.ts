import { defineConfig } from 'vitest/config';

// `fast` needs no server and is part of `npm run check`; `real` starts its own Postgres and Kafka once per test file
// set; `fault` and `compose` are the heavier suites with commands of their own. Real-server files run one at a time:
// two cores are shared by the servers, the services and the tests.
const real = {
  fileParallelism: false,
  testTimeout: 120_000,
  hookTimeout: 180_000,
  pool: 'forks' as const,
  globalSetup: ['test/support/global-setup.ts'],
};

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'fast', include: ['test/{unit,property,simulation}/**/*.test.ts'], pool: 'threads' } },
      { test: { name: 'real', include: ['test/{contract,integration,fault}/**/*.test.ts'], ...real } },
      { test: { name: 'fault', include: ['test/fault/**/*.test.ts'], ...real } },
      { test: { name: 'compose', include: ['test/compose/**/*.test.ts'], ...real, globalSetup: [] } },
    ],
  },
});
