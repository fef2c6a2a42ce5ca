// The arguments of `npm run adopt`. Pure.
import { createCommand, parseCount } from '../run-tool.ts';

export type AdoptArguments =
  | {
      readonly side: 'reader';
      readonly yes: boolean;
      readonly force: boolean;
      /** How many orders that only replaced tables hold may be given up. */
      readonly leaveOrders: number | undefined;
    }
  | { readonly side: 'sink'; readonly yes: boolean };

const DESCRIPTION =
  'Accepts a proven gap after a halt, so that the reader or the sinks can continue. Shows what it found and what it will do, ' +
  'and asks for confirmation. Afterwards run the replay command that it prints, to close the gap.\n\nExit codes: 0 done, 1 refused, declined or ' +
  'failed, 64 bad arguments, 78 bad configuration.';

/** @throws CommanderError, which has been printed */
export function parseAdoptArguments(argv: readonly string[]): AdoptArguments {
  let parsed: AdoptArguments | undefined;
  const program = createCommand('adopt', DESCRIPTION);
  program
    .command('reader')
    .description(
      'after a halt of the reader: a new slot, a new checkpoint and, if necessary, a new generation of the live topic',
    )
    .option('--yes', 'do not ask for confirmation', false)
    .option(
      '--force',
      'continue although nothing wrong is found: some halts occur only while the reader streams',
      false,
    )
    .option(
      '--leave-orders <n>',
      'after TABLES_CHANGED: give up at most <n> orders that only the replaced tables hold',
      parseCount(0, 1_000_000_000),
    )
    .allowExcessArguments(false)
    .action(({ yes, force, leaveOrders }: { yes: boolean; force: boolean; leaveOrders?: number }) => {
      parsed = { side: 'reader', yes, force, leaveOrders };
    });
  program
    .command('sink')
    .description('after a halt of the sinks: move their offsets to where they can continue')
    .option('--yes', 'do not ask for confirmation', false)
    .allowExcessArguments(false)
    .action(({ yes }: { yes: boolean }) => {
      parsed = { side: 'sink', yes };
    });
  program.parse(argv, { from: 'user' });
  // Without a command, commander shows the help and throws.
  return parsed!;
}
