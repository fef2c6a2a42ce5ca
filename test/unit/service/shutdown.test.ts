import { afterEach, describe, expect, test } from 'vitest';
import {
  killScratchProcesses,
  type ScratchProcess,
  startScratchProcess,
} from '../../support/process/scratch-process.ts';

afterEach(killScratchProcesses);

/** Runs a service whose start and close are the given statements, in a process of its own. */
function startService(options: {
  start?: string;
  close?: string;
  after?: string;
  run?: string;
  delayMs?: number;
}): ScratchProcess {
  return startScratchProcess(`
    import process from 'node:process';
    import { ConfigurationError } from '#service/environment.ts';
    import { createLogger } from '#service/logger.ts';
    import { runService } from '#service/shutdown.ts';
    // Like a server that listens: keeps the process alive until it exits by itself.
    setInterval(() => undefined, 1_000_000);
    await runService({
      service: 'scratch',
      process,
      start: async (signal) => {
        console.log('starting');
        ${options.start ?? ''}
        return {
          logger: createLogger('scratch', 'info'),
          shutdownDelayMs: ${options.delayMs ?? 0},
          close: async () => {
            console.log('closing');
            ${options.close ?? ''}
            console.log('closed');
          },
        };
      },
      ${options.run ?? ''}
    });
    console.log('running');
    ${options.after ?? ''}
  `);
}

const events = ({ lines }: ScratchProcess) => lines.map((line) => (typeof line === 'string' ? line : line.event));
const lastLine = ({ lines }: ScratchProcess) => lines.at(-1) as Record<string, unknown>;

test.each(['SIGTERM', 'SIGINT'] as const)('%s drains once and exits with 0, however often it comes', async (signal) => {
  const service = startService({ close: 'await new Promise((resolve) => setTimeout(resolve, 200));' });
  await service.waitForLine('running');
  service.child.kill(signal);
  await service.waitForLine('closing');
  service.child.kill(signal);
  service.child.kill(signal);
  expect(await service.exited).toEqual({ code: 0, signal: null });
  expect(events(service)).toEqual(['starting', 'running', 'service.stopping', 'closing', 'closed', 'service.stopped']);
});

test('bad configuration exits with 78 and every problem on standard error', async () => {
  const service = startService({ start: "throw new ConfigurationError(['PORT: expected a', 'HOST: expected b']);" });
  expect(await service.exited).toEqual({ code: 78, signal: null });
  expect(service.stderr()).toBe('scratch: bad configuration\n  - PORT: expected a\n  - HOST: expected b\n');
  expect(events(service)).toEqual(['starting']);
});

describe('everything else that goes wrong is logged as fatal and exits with 1:', () => {
  test.each([
    ['a start that fails', { start: "throw new Error('because');" }, 'start failed'],
    [
      'an exception nobody caught',
      { after: "setTimeout(() => { throw new Error('because'); });" },
      'uncaught exception',
    ],
    ['a rejection nobody handled', { after: "Promise.reject(new Error('because'));" }, 'unhandled rejection'],
    [
      'an exception during the start',
      { start: "setTimeout(() => { throw new Error('because'); }); await new Promise(() => undefined);" },
      'uncaught exception',
    ],
  ])('%s', async (_name, options, reason) => {
    const service = startService(options);
    expect(await service.exited).toEqual({ code: 1, signal: null });
    expect(lastLine(service)).toMatchObject({
      level: 'fatal',
      event: 'service.failed',
      reason,
      err: { message: 'because', stack: expect.any(String) },
    });
    expect(events(service)).not.toContain('closing');
  });

  test('a stop that fails', async () => {
    const service = startService({ close: "throw new Error('because');" });
    await service.waitForLine('running');
    service.child.kill('SIGTERM');
    expect((await service.exited).code).toBe(1);
    expect(lastLine(service)).toMatchObject({ reason: 'stop failed', err: { message: 'because' } });
  });

  test('a stop that takes longer than its deadline', async () => {
    const service = startService({ close: 'await new Promise(() => undefined);', run: 'stopDeadlineMs: 300,' });
    await service.waitForLine('running');
    service.child.kill('SIGTERM');
    expect((await service.exited).code).toBe(1);
    expect(lastLine(service)).toMatchObject({ reason: 'stop took too long' });
  });

  test('a stop that takes longer than its deadline after the delay that was asked for, and no sooner', async () => {
    const close = 'await new Promise((resolve) => setTimeout(resolve, 600));';
    const late = startService({ close, run: 'stopDeadlineMs: 300,' });
    const asked = startService({ close, run: 'stopDeadlineMs: 300,', delayMs: 30_000 });
    await Promise.all([late, asked].map((service) => service.waitForLine('running')));
    for (const { child } of [late, asked]) child.kill('SIGTERM');
    expect((await late.exited).code).toBe(1);
    expect((await asked.exited).code).toBe(0);
  });
});

describe('told to stop during the start, it', () => {
  test('waits for the start, closes what was started and exits with 0', async () => {
    const service = startService({ start: 'await new Promise((resolve) => setTimeout(resolve, 200));' });
    await service.waitForLine('starting');
    service.child.kill('SIGTERM');
    expect((await service.exited).code).toBe(0);
    expect(events(service)).toEqual(expect.arrayContaining(['closed', 'service.stopped']));
  });

  test('does not wait for ever for a start that hangs, and exits with 0', async () => {
    const service = startService({ start: 'await new Promise(() => undefined);', run: 'startGraceMs: 200,' });
    await service.waitForLine('starting');
    service.child.kill('SIGTERM');
    expect((await service.exited).code).toBe(0);
    expect(events(service)).toEqual(['starting', 'service.stopping', 'service.stopped']);
  });

  test('aborts the signal that the start was given, and a start that then fails has stopped cleanly', async () => {
    const service = startService({
      start: "await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));",
    });
    await service.waitForLine('starting');
    service.child.kill('SIGTERM');
    expect((await service.exited).code).toBe(0);
    expect(events(service)).toEqual(['starting', 'service.stopping', 'service.stopped']);
  });
});
