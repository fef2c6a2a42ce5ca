// The one question of all commands: what counts as a yes, and where nobody can be asked.
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { confirm, requireYes } from '../../../tools/confirm.ts';

const terminal = (isTTY: boolean) => Object.assign(new PassThrough(), { isTTY });

/** Answers with `answer` on a terminal; null: there is none. */
function createStreams(answer: string | null, { stdout = answer !== null, stderr = answer !== null } = {}) {
  const streams = { stdin: terminal(answer !== null), stdout: terminal(stdout), stderr: terminal(stderr) };
  if (answer !== null) streams.stdin.write(`${answer}\n`);
  return streams;
}

describe('the question', () => {
  it.each(['y', 'Y', 'yes', ' y '])('takes %j for a yes', async (answer) => {
    expect(await confirm('Continue?', createStreams(answer))).toBe('yes');
  });

  it.each(['', 'n', 'no', 'yeah', 'ye'])('takes %j for a no', async (answer) => {
    expect(await confirm('Continue?', createStreams(answer))).toBe('no');
  });

  it('takes the end of the input for a no', async () => {
    const streams = { stdin: terminal(true), stdout: terminal(true), stderr: terminal(true) };
    streams.stdin.end();
    expect(await confirm('Continue?', streams)).toBe('no');
  });

  it('goes to stderr if stdout is redirected, and is not asked without a terminal', async () => {
    const redirected = createStreams('y', { stdout: false });
    expect(await confirm('Continue?', redirected)).toBe('yes');
    expect(redirected.stdout.readableLength).toBe(0);
    expect(redirected.stderr.readableLength).toBeGreaterThan('Continue? [y/N]'.length);
    expect(await confirm('Continue?', createStreams('y', { stdout: false, stderr: false }))).toBe('nobody');
    expect(await confirm('Continue?', createStreams(null))).toBe('nobody');
  });

  it('ends with the reason of its signal', async () => {
    const stop = new AbortController();
    const streams = { stdin: terminal(true), stdout: terminal(true), stderr: terminal(true) };
    const asked = confirm('Continue?', streams, stop.signal);
    stop.abort(new Error('stopped'));
    await expect(asked).rejects.toThrow('stopped');
  });
});

describe('a change', () => {
  const ask = (answer: string | null, yes = false) => requireYes('Accept?', yes, createStreams(answer));

  it('needs a yes, or --yes, and is wrong use where nobody can answer', async () => {
    await expect(ask('y')).resolves.toBeUndefined();
    await expect(ask(null, true)).resolves.toBeUndefined();
    await expect(ask('n')).rejects.toMatchObject({ exitCode: 1, message: 'declined; nothing was changed' });
    await expect(ask(null)).rejects.toMatchObject({ exitCode: 64, message: expect.stringContaining('--yes') });
  });
});
