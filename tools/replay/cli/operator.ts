// The person or job that runs a replay: gets lines, progress and questions.
import { requireYes, type Streams } from '../../confirm.ts';
import { createProgressDisplay, type ProgressDisplay } from '../progress/progress-display.ts';

export interface Operator extends Pick<ProgressDisplay, 'show'> {
  print(lines: readonly string[]): void;
  /** On stderr. */
  warn(line: string): void;
  /** `yes`: --yes was given. @throws ToolRefusal unless the answer is yes; the signal's reason */
  requireYes(question: string, yes: boolean, signal: AbortSignal): Promise<void>;
}

/** Who is informed, and what stops the work. */
export interface Talk {
  readonly operator: Operator;
  readonly signal: AbortSignal;
}

export function createOperator(streams: Streams): Operator {
  const { stdout, stderr } = streams;
  const display = createProgressDisplay(stdout, stdout.isTTY === true, () => performance.now());
  return {
    print(lines) {
      display.end();
      for (const line of lines) stdout.write(`${line}\n`);
    },
    warn(line) {
      display.end();
      stderr.write(`replay: ${line}\n`);
    },
    show: display.show,
    requireYes(question, yes, signal) {
      display.end();
      return requireYes(question, yes, streams, signal);
    },
  };
}
