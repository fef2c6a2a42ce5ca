// The person or job that runs a replay: gets lines, progress and questions. Without a terminal there is no question: running
// the command was the decision.
import { confirm, type Streams } from '../../confirm.ts';
import { createProgressDisplay, type ProgressDisplay } from '../progress/progress-display.ts';

export interface Operator extends Pick<ProgressDisplay, 'show'> {
  print(lines: readonly string[]): void;
  /** True without asking if there is no terminal. @throws the signal's reason */
  confirm(question: string, signal: AbortSignal): Promise<boolean>;
}

/** Who is informed, and what stops the work. */
export interface Talk {
  readonly operator: Operator;
  readonly signal: AbortSignal;
}

export function createOperator(streams: Streams): Operator {
  const { stdout } = streams;
  const display = createProgressDisplay(stdout, stdout.isTTY === true, () => performance.now());
  return {
    print(lines) {
      display.end();
      for (const line of lines) stdout.write(`${line}\n`);
    },
    show: display.show,
    async confirm(question, signal) {
      display.end();
      return (await confirm(question, streams, signal)) !== 'no';
    },
  };
}
