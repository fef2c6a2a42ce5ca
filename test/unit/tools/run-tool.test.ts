// The frame of every command: which exit code an end gets, and what a closed output does.
import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '#service/environment.ts';
import { createCommand, runTool, type ToolProcess, ToolRefusal } from '../../../tools/run-tool.ts';

/** A process whose stdout fails with `lost` on every write. */
function createProcess(lost?: string) {
  let stderr = '';
  const create = (write: (text: string) => void) => Object.assign(new EventEmitter(), { write });
  const stdout = create(() => {
    if (lost !== undefined) stdout.emit('error', Object.assign(new Error(`write ${lost}`), { code: lost }));
  });
  const process: ToolProcess = { stdout, stderr: create((text) => (stderr += text)) };
  return { process, stderr: () => stderr };
}

async function end(work: (process: ToolProcess) => Promise<number>, lost?: string) {
  const { process, stderr } = createProcess(lost);
  await runTool('tool', process, 69, () => work(process));
  return { code: process.exitCode, stderr: stderr() };
}

const fail = (error: unknown) => end(async () => Promise.reject(error));

describe('a command', () => {
  it('ends with the code of its work, of its refusal, or of any other failure', async () => {
    expect(await end(async () => 3)).toEqual({ code: 3, stderr: '' });
    expect(await fail(new ToolRefusal('no', 75))).toEqual({ code: 75, stderr: 'tool: no\n' });
    expect(await fail(new Error('away'))).toEqual({ code: 69, stderr: 'tool: away\n' });
    const nameless = Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' });
    expect(await fail(nameless)).toEqual({ code: 69, stderr: 'tool: ECONNREFUSED\n' });
  });

  it('ends with 78 and every problem of its configuration, and with 64 for bad arguments', async () => {
    const found = await fail(new ConfigurationError(['A is required', 'B is no number']));
    expect(found).toEqual({ code: 78, stderr: 'tool: bad configuration\n  - A is required\n  - B is no number\n' });
    const command = createCommand('tool', 'x').configureOutput({ writeErr: () => undefined });
    expect((await end(async () => command.parse(['--what'], { from: 'user' }) && 0)).code).toBe(64);
  });

  it('finishes what it began when nobody reads its output any more', async () => {
    let done = false;
    const work = async ({ stdout }: ToolProcess) => {
      stdout.write('one');
      stdout.write('two');
      done = true;
      return 0;
    };
    expect(await end(work, 'EPIPE')).toEqual({ code: 0, stderr: '' });
    expect(done).toBe(true);
  });

  it('fails when its report could not be written, and keeps a code that reports more', async () => {
    const write = (code: number) => async (process: ToolProcess) => {
      process.stdout.write('report');
      return code;
    };
    expect(await end(write(0), 'ENOSPC')).toEqual({ code: 69, stderr: expect.stringContaining('write ENOSPC') });
    expect((await end(write(1), 'ENOSPC')).code).toBe(1);
  });
});
