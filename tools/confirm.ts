// Asks before a change, the same way in every command. Guarantees: only `y` or `yes`, typed on a terminal, or --yes counts as
// a yes; a job that nobody watches is never asked and changes nothing. What is asked is the tool's decision.
import { createInterface } from 'node:readline/promises';
import type { Readable, Writable } from 'node:stream';
import { EXIT_BAD_ARGUMENTS, ToolRefusal } from './run-tool.ts';

export interface Streams {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
}

/** What a command tells the operator, and where it asks. */
export interface Conversation {
  readonly streams: Streams;
  readonly print: (line: string) => void;
}

/** `yes`: --yes was given. @throws ToolRefusal unless the answer is yes; the signal's reason */
export async function requireYes(
  question: string,
  yes: boolean,
  streams: Streams,
  signal?: AbortSignal,
): Promise<void> {
  if (yes) return;
  const answer = await confirm(question, streams, signal);
  if (answer === 'yes') return;
  if (answer === 'no') throw new ToolRefusal('declined; nothing was changed');
  throw new ToolRefusal(
    'this needs confirmation, but there is no terminal to ask on; nothing was changed. Run it on a terminal, or with --yes',
    EXIT_BAD_ARGUMENTS,
  );
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
