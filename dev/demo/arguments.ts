// The arguments of `npm run demo`. Pure.
import { Command, InvalidArgumentError } from 'commander';
import { type DemoFault, demoFaults } from './faults.ts';

export interface DemoArguments {
  readonly seed: number;
  /** Orders a second. */
  readonly rate: number;
  /** How long orders come; undefined: until Ctrl-C. */
  readonly seconds: number | undefined;
  readonly everySeconds: number;
  readonly faults: readonly DemoFault[];
}

const wholeNumber =
  (least: number, most: number) =>
  (text: string): number => {
    if (!/^\d{1,10}$/.test(text) || Number(text) < least || Number(text) > most) {
      throw new InvalidArgumentError(`Expected a whole number from ${least} to ${most}.`);
    }
    return Number(text);
  };

function parseFaults(text: string): readonly DemoFault[] {
  if (text === 'none') return [];
  return text.split(',').map((name) => {
    const fault = demoFaults.find((one) => one === name.trim());
    if (fault === undefined) throw new InvalidArgumentError(`Expected none, or some of ${demoFaults.join(', ')}.`);
    return fault;
  });
}

/** @throws CommanderError, which has been printed */
export function parseDemoArguments(argv: readonly string[], exitOverride = false): DemoArguments {
  const command = new Command('npm run demo --')
    .description(
      'Runs the stack of npm start with shoppers that order, and a fault now and then. Ctrl-C, or the end of --seconds, lets the ' +
        'pipeline catch up and ends with the verdict of the audit; Ctrl-C again stops at once.',
    )
    .option('--rate <n>', 'orders a second', wholeNumber(1, 1_000), 50)
    .option('--seconds <n>', 'how long orders come; without it until Ctrl-C', wholeNumber(1, 86_400))
    .option('--every <n>', 'seconds from one fault to the next', wholeNumber(1, 3_600), 20)
    .option('--faults <list>', `some of ${demoFaults.join(', ')}; or none`, parseFaults, demoFaults)
    .option('--seed <n>', 'the same seed gives the same faults', wholeNumber(0, 4_294_967_295), Date.now() % 100_000)
    .allowExcessArguments(false);
  if (exitOverride) command.exitOverride().configureOutput({ writeErr: () => undefined });
  const { seed, rate, seconds, every, faults } = command.parse(argv, { from: 'user' }).opts<{
    seed: number;
    rate: number;
    seconds?: number;
    every: number;
    faults: readonly DemoFault[];
  }>();
  return { seed, rate, seconds, everySeconds: every, faults };
}
