import { afterEach, describe, expect, test } from 'vitest';
import { failpoint, setFailpointHandler } from '#service/failpoint.ts';
import {
  killScratchProcesses,
  type ScratchProcess,
  startScratchProcess,
} from '../../support/process/scratch-process.ts';

afterEach(() => {
  setFailpointHandler(undefined);
  killScratchProcesses();
});

test('a failpoint does nothing and waits for nothing while nobody has set a handler', () => {
  expect(failpoint('a')).toBeUndefined();
});

test('a handler is called with the name, and its promise can be awaited', async () => {
  const names: string[] = [];
  setFailpointHandler(async (name) => {
    names.push(name);
  });
  await failpoint('a');
  await failpoint('b');
  expect(names).toEqual(['a', 'b']);
});

/** Passes failpoint "a" three times, printing a number after each. */
function startProgram(failpoints: string, options: { preload?: boolean } = {}): ScratchProcess {
  const nodeArgs = (options.preload ?? true) ? ['--import', './test/support/process/failpoints.ts'] : [];
  const program = `
    import { failpoint } from '#service/failpoint.ts';
    setInterval(() => undefined, 1_000_000).unref();
    for (let hit = 1; hit <= 3; hit++) {
      await failpoint('other');
      await failpoint('a');
      console.log(hit);
    }
  `;
  return startScratchProcess(program, { nodeArgs, env: { TILLSTREAM_FAILPOINTS: failpoints } });
}

describe('the preloaded module', () => {
  test('kills at the nth hit, before the next line of the program', async () => {
    const program = startProgram('a=kill:2');
    expect(await program.exited).toEqual({ code: null, signal: 'SIGKILL' });
    expect(program.lines).toEqual(['1']);
  });

  test('pauses until SIGUSR2, once', async () => {
    const program = startProgram('a=pause:2');
    await program.waitForLine('failpoint.paused');
    expect(program.lines).toEqual(['1', { event: 'failpoint.paused', name: 'a' }]);
    program.child.kill('SIGUSR2');
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect(program.lines.slice(2)).toEqual(['2', '3']);
  });

  test('throws at the first hit unless told otherwise', async () => {
    const program = startProgram('other=throw:3, a=throw');
    expect((await program.exited).code).toBe(1);
    expect(program.lines).toEqual([]);
    expect(program.stderr()).toContain('failpoint a');
  });

  test('refuses what it does not understand', async () => {
    const program = startProgram('a=explode');
    expect((await program.exited).code).toBe(1);
    expect(program.stderr()).toContain('expected name=kill|pause|throw[:nth]');
  });
});

test('the variable alone does nothing to a process that did not preload the module', async () => {
  const program = startProgram('a=kill', { preload: false });
  expect(await program.exited).toEqual({ code: 0, signal: null });
  expect(program.lines).toEqual(['1', '2', '3']);
});
