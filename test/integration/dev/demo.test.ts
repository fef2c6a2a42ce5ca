// `npm run demo` as a person meets it: shoppers, faults that are announced, and at the end the verdict of the audit.

import { globSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { isAlive, readPidFile } from '../../../dev/process/process-identity.ts';
import { npmStart, startEnvironment } from '../../support/process/npm-start.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';

const repository = join(import.meta.dirname, '..', '..', '..');
let home: string;

beforeEach(() => {
  home = createTestDirectory('demo');
});
afterEach(() => removeTestDirectory(home));

const runDemo = async (...args: string[]) =>
  npmStart(await startEnvironment(home), { folder: repository, entry: 'dev/demo/main.ts', args });

it('breaks what it announces, waits for what was ordered, and ends with a clean audit', async () => {
  const faults = 'reader-kill,sink-kill,api-kill,sink-pause,sessions-ended,carts-locked';
  const demo = await runDemo('--rate', '30', '--every', '3', '--seconds', '16', '--seed', '1', '--faults', faults);
  expect(await demo.exited).toEqual({ code: 0, signal: null });
  const output = demo.output();
  expect(output.match(/ FAULT /g)!.length).toBeGreaterThanOrEqual(3);
  const placed = Number(/(\d+) orders were placed/.exec(output)![1]);
  expect(placed).toBeGreaterThan(100);
  expect(output).toContain('The two databases agree.');
  expect(Number(/^agreeing +(\d+)/m.exec(output)![1])).toBe(placed);
});

it('ends with the audit at Ctrl-C, and leaves no process behind', async () => {
  const demo = await runDemo('--rate', '10', '--faults', 'none');
  await demo.waitForOutput(' orders placed');
  const processes = globSync('**/*.pid.json', { cwd: home }).flatMap(
    (file) => readPidFile(join(home, file))?.process ?? [],
  );
  expect(processes.length).toBeGreaterThan(5);
  expect(await demo.stop('SIGINT', 60_000)).toEqual({ code: 0, signal: null });
  expect(demo.output()).toContain('The two databases agree.');
  expect(processes.filter(isAlive)).toEqual([]);
});
