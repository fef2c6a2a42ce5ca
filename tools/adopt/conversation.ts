// What both sides of adopt tell the operator, and ask before they change anything.
import { confirm, type Streams } from '../confirm.ts';
import { ToolRefusal } from '../run-tool.ts';

export interface Conversation {
  readonly streams: Streams;
  readonly print: (line: string) => void;
}

/** `yes`: --yes was given. @throws ToolRefusal unless the answer is yes */
export async function requireYes(question: string, yes: boolean, { streams }: Conversation): Promise<void> {
  if (yes) return;
  const answer = await confirm(question, streams);
  if (answer === 'yes') return;
  throw new ToolRefusal(
    answer === 'no'
      ? 'declined; nothing was changed'
      : 'this accepts a gap and needs confirmation, but there is no terminal to ask on: run it on a terminal, or with --yes',
  );
}
