// The arguments of `npm run adopt`. Pure.
import { createCommand, parseCount } from '../run-tool.ts';

export type AdoptArguments =
  | {
      readonly side: 'reader';
      readonly yes: boolean;
      readonly force: boolean;
      /** Orders that only replaced tables hold, which are given up: at most so many. Undefined: none. */
      readonly leaveOrders: number | undefined;
    }
  | { readonly side: 'sink'; readonly yes: boolean };

const DESCRIPTION =
  'Accepts a proven gap after a halt, so that reader or sinks can go on. Shows what it found and what it would do, and ' +
  'asks. Afterwards the replay command that it prints closes the gap.\n\nExit codes: 0 done, 1 refused, declined or ' +
  'failed, 64 bad arguments, 78 bad configuration.';

/** @throws CommanderError, which has been printed */
export function parseAdoptArguments(argv: readonly string[]): AdoptArguments {
  let parsed: AdoptArguments | undefined;
  const program = createCommand('adopt', DESCRIPTION);
  program
    .command('reader')
    .description(
      'after a halt of the reader: new slot, new checkpoint, and if it must be a new generation of the live topic',
    )
    .option('--yes', 'do not ask', false)
    .option('--force', 'go on although nothing wrong is found: some halts show only while the reader streams', false)
    .option(
      '--leave-orders <n>',
      'after TABLES_CHANGED: give up at most n orders that only the replaced tables hold',
      parseCount(0, 1_000_000_000),
    )
    .allowExcessArguments(false)
    .action(({ yes, force, leaveOrders }: { yes: boolean; force: boolean; leaveOrders?: number }) => {
      parsed = { side: 'reader', yes, force, leaveOrders };
    });
  program
    .command('sink')
    .description('after a halt of the sinks: move their offsets to where Kafka can go on')
    .option('--yes', 'do not ask', false)
    .allowExcessArguments(false)
    .action(({ yes }: { yes: boolean }) => {
      parsed = { side: 'sink', yes };
    });
  program.parse(argv, { from: 'user' });
  // Without a command, commander shows the help and throws.
  return parsed!;
}
