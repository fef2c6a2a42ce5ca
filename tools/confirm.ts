// Asks before something that can't be taken back. Guarantees: only a `y` on a terminal, or --yes, is a yes; a job that
// nobody watches is refused.
import { createInterface } from 'node:readline/promises';
import { ToolRefusal } from './run-tool.ts';

export interface Conversation {
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly output: NodeJS.WritableStream;
  readonly print: (line: string) => void;
}

/** @throws ToolRefusal unless the answer is yes */
export async function requireYes(question: string, yes: boolean, { input, output }: Conversation): Promise<void> {
  if (yes) return;
  if (input.isTTY !== true)
    throw new ToolRefusal('this accepts a gap, and nobody can be asked here: run it on a terminal, or with --yes');
  const asking = createInterface({ input, output });
  try {
    const answer = await asking.question(`${question} [y/N] `);
    if (!/^\s*y(es)?\s*$/i.test(answer)) throw new ToolRefusal('declined; nothing was changed');
  } finally {
    asking.close();
  }
}
