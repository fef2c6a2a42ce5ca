// Asks before a change. Guarantees: only `y` or `yes`, typed on a terminal, counts as a yes; a job that nobody watches is
// never asked. What that means (adopt refuses, replay goes on) is the tool's decision.
import { createInterface } from 'node:readline/promises';
import type { Readable, Writable } from 'node:stream';

export interface Streams {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
}

/** `nobody`: there is no terminal to ask on. The question goes to stderr if stdout is redirected. @throws the signal's reason */
export async function confirm(
  question: string,
  { stdin, stdout, stderr }: Streams,
  signal?: AbortSignal,
): Promise<'yes' | 'no' | 'nobody'> {
  const output = [stdout, stderr].find(({ isTTY }) => isTTY === true);
  if (stdin.isTTY !== true || output === undefined) return 'nobody';
  const prompt = createInterface({ input: stdin, output });
  // In raw mode the terminal's Ctrl-C arrives as a key.
  prompt.on('SIGINT', () => prompt.close());
  try {
    const answer = await Promise.race([
      prompt.question(`${question} [y/N] `, signal === undefined ? {} : { signal }),
      new Promise<string>((resolve) => prompt.once('close', () => resolve(''))),
    ]);
    return /^\s*y(es)?\s*$/i.test(answer) ? 'yes' : 'no';
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    prompt.close();
  }
}
