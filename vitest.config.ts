import { defineConfig } from 'vitest/config';

// `fast` and `stand-ins` need no server and are part of `npm run check`. `real` and `fault` start one Postgres and one
// Kafka for all their files, and faults that need servers of their own start those; each test has its own databases,
// topics and slot, so files run side by side (they mostly wait: npm scripts set how many). `matrix`, `capture`, `alerts` and
// `compose` have commands of their own.
const fast = {
  pool: 'threads' as const,
  testTimeout: 30_000, // most take milliseconds; a machine that does other things too must not make one red
};

/** They replace modules, and so need a module registry of their own; the other fast ones share what they have loaded. */
const standIns = [
  'test/simulation/**/*.test.ts',
  'test/unit/cdc-reader/supervise/reader.test.ts',
  'test/unit/cdc-reader/startup/start-checks.test.ts',
];

const real = {
  testTimeout: 120_000,
  hookTimeout: 180_000,
  pool: 'forks' as const,
  globalSetup: ['test/support/stack/global-setup.ts'],
};

/** Faults beyond those that every change is checked against, and what takes minutes for one promise. */
const matrix = [
  'test/fault/reader/{first-start,halts,outages}.test.ts',
  'test/fault/sink/{database-limits,outage,stopped,zombies}.test.ts',
  'test/fault/{disaster,halts,kafka,source,waiting}/*.test.ts',
  'test/integration/cdc-reader/replay-window.test.ts',
  'test/integration/kafka/leader-moves.test.ts',
  'test/integration/service/{rolling-restart,session-settings,unknown-outcomes}.test.ts',
  'test/integration/dev/demo.test.ts',
  'test/integration/order-api/outage.test.ts',
  'test/integration/tools/{adopt,replay-property,replay-sources}.test.ts',
];

/** What can be done to the captured tables, in every situation: hundreds of cases, each with a reader of its own (class K). */
const capture = ['test/fault/tables/!(smoke).test.ts', 'test/integration/tools/tables-replaced.test.ts'];
const elsewhere = [...matrix, ...capture];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'fast',
          include: ['test/{unit,property}/**/*.test.ts'],
          exclude: standIns,
          isolate: false,
          ...fast,
        },
      },
      { test: { name: 'stand-ins', include: standIns, ...fast } },
      { test: { name: 'real', include: ['test/{contract,integration}/**/*.test.ts'], exclude: elsewhere, ...real } },
      { test: { name: 'fault', include: ['test/fault/**/*.test.ts'], exclude: elsewhere, ...real } },
      { test: { name: 'matrix', include: matrix, ...real } },
      { test: { name: 'capture', include: capture, ...real } },
      { test: { name: 'security', include: ['test/security/**/*.test.ts'], ...real } },
      { test: { name: 'console', include: ['test/console/**/*.test.ts'], ...real } },
      { test: { name: 'upgrade', include: ['test/upgrade/**/*.test.ts'], ...real } },
      { test: { name: 'alerts', include: ['test/alerts/**/*.test.ts'], ...fast } },
      { test: { name: 'compose', include: ['test/compose/**/*.test.ts'], ...real, globalSetup: [] } },
    ],
  },
});
