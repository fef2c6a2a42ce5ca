// The person or job that runs the tool: gets lines, progress and questions. Guarantees: a question is only put to a
// terminal; whoever has none has said yes by running the command.

import { createInterface } from 'node:readline/promises';
import type { Readable, Writable } from 'node:stream';
import { createProgressDisplay } from '../progress/progress-display.ts';

export interface Operator {
  print(lines: readonly string[]): void;
  /** See {@link createProgressDisplay}. */
  show(what: string, done: number, total: number): void;
  /** True without asking when there is no terminal. @throws the signal's reason */
  confirm(question: string, signal: AbortSignal): Promise<boolean>;
}

type Terminal<S> = S & { readonly isTTY?: boolean };

export function createOperator(input: Terminal<Readable>, output: Terminal<Writable>): Operator {
  const isTerminal = output.isTTY === true;
  const display = createProgressDisplay(output, isTerminal, () => performance.now());
  return {
    print(lines) {
      display.end();
      for (const line of lines) output.write(`${line}\n`);
    },
    show: display.show,
    async confirm(question, signal) {
      if (!isTerminal || input.isTTY !== true) return true;
      display.end();
      const prompt = createInterface({ input, output });
      // In raw mode the terminal's Ctrl-C comes as a key.
      prompt.on('SIGINT', () => prompt.close());
      try {
        const answer = await Promise.race([
          prompt.question(`${question} [y/N] `, { signal }),
          new Promise<string>((resolve) => prompt.once('close', () => resolve(''))),
        ]);
        return /^\s*y(es)?\s*$/i.test(answer);
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      } finally {
        prompt.close();
      }
    },
  };
}
