// Processes that must not outlive those who started them: servers whose parent was killed, with or without their guard,
// and services driven by signals.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test } from 'vitest';
import { readPidFile } from '../../../dev/process/process-identity.ts';
import { createLocalPostgres } from '../../../dev/servers/local-postgres.ts';
import { startService, stopAllServices } from '../../support/process/service-process.ts';
import { createTestDirectory, removeTestDirectory } from '../../support/process/test-directory.ts';
import { waitFor } from '../../support/wait.ts';

const directory = createTestDirectory('processes');
afterEach(stopAllServices);
afterAll(() => removeTestDirectory(directory));

test('a server ends when its parent is killed with SIGKILL', async () => {
  const server = join(directory, 'orphaned');
  const module = join(import.meta.dirname, '..', '..', '..', 'dev', 'servers', 'local-postgres.ts');
  const script = `import { createLocalPostgres } from ${JSON.stringify(module)};
    const postgres = await createLocalPostgres({ directory: ${JSON.stringify(server)}, settings: { fsync: 'off' } });
    await postgres.start();
    process.kill(process.pid, 'SIGKILL');`;
  const parent = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], { stdio: 'inherit' });
  const [, signal] = await once(parent, 'exit');
  expect(signal).toBe('SIGKILL');
  await waitFor('the orphaned Postgres to shut down by itself', () =>
    readFileSync(join(server, 'postgres.log'), 'utf8').includes('database system is shut down'),
  );
});

test('a server that lost its parent and its guard is stopped by the next start, which continues with its data', async () => {
  const notices: string[] = [];
  const options = {
    directory: join(directory, 'left'),
    settings: { fsync: 'off' },
    onNotice: (notice: string) => notices.push(notice),
  };
  const first = await createLocalPostgres(options);
  await first.start();
  await first.createDatabase('kept');
  const pidFile = join(directory, 'left', 'postgres.pid.json');
  const noted = readPidFile(pidFile)!;
  // As if the owner had been another process, dead by now.
  writeFileSync(pidFile, JSON.stringify({ ...noted, owner: { ...noted.owner, startMark: 'long ago' } }));
  const second = await createLocalPostgres(options);
  await second.start();
  expect(notices.join()).toMatch(/^Stopped Postgres \(process \d+\) that an earlier run had left behind\.$/);
  await expect(second.createDatabase('kept')).rejects.toThrow(/already exists/);
  await second.close();
});

test('a service is started with a clean environment, and read by its logs, health and metrics', async () => {
  const entry = join(directory, 'service.ts');
  writeFileSync(
    entry,
    `import { createServer } from 'node:http';
    createServer((request, response) => {
      if (request.url === '/metrics') response.end('# HELP a b\\ntillstream_halted{code="a b"} 1\\nup 1e3\\n');
      else response.writeHead(200).end('{"state":"fine"}');
    }).listen(Number(process.env.PORT), process.env.HOST, () =>
      console.log(JSON.stringify({ level: 'info', event: 'listening', brokers: process.env.KAFKA_BROKERS ?? null })));
    process.on('SIGTERM', () => process.exit(7));`,
  );
  process.env.KAFKA_BROKERS = 'the-developers-own:9092';
  const service = await startService('cart-sink', {}, { entry }).finally(() => delete process.env.KAFKA_BROKERS);
  expect(await service.waitForLog('listening')).toMatchObject({ brokers: null });
  await service.waitReady();
  expect(await service.ready()).toEqual({ status: 200, body: { state: 'fine' } });
  expect([...(await service.metrics())]).toEqual([
    ['tillstream_halted{code="a b"}', 1],
    ['up', 1000],
  ]);
  service.pause();
  expect(await service.stop()).toEqual({ code: 7, signal: null });
  expect(service.exitCode).toBe(7);
});

test('a service that ends before it is ready fails the wait at once, with its last words', async () => {
  const entry = join(directory, 'broken.ts');
  writeFileSync(entry, `throw new Error('no configuration');`);
  const service = await startService('order-api', {}, { entry });
  await expect(service.waitReady()).rejects.toThrow(/order-api ended \(exit code 1\).*no configuration/s);
});
