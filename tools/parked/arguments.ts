// The arguments of `npm run parked`. Pure.
import { InvalidArgumentError, Option } from 'commander';
import { createCommand } from '../run-tool.ts';

export type ParkedArguments = { readonly json: boolean } & ParkedCommand;

type ParkedCommand =
  | { readonly command: 'list'; readonly all: boolean }
  | { readonly command: 'show'; readonly parkedId: bigint }
  | ({ readonly command: 'retry' } & Change)
  | ({ readonly command: 'discard'; readonly reason: string } & Change);

interface Change {
  readonly parkedId: bigint;
  readonly yes: boolean;
  /** Who is recorded; undefined: the user that runs the command. */
  readonly by: string | undefined;
}

const DESCRIPTION =
  'Shows the records that the sinks could not apply and have parked, and decides about them. A decision is kept with the ' +
  'record: what, who, when and why.\n\nExit codes: 0 done, 1 refused or declined, 64 bad arguments, or no terminal to ask on ' +
  'and no --yes, 69 the carts database is unavailable, 78 bad configuration.';

/** @throws CommanderError, which has been printed */
export function parseParkedArguments(argv: readonly string[]): ParkedArguments {
  let parsed: ParkedCommand | undefined;
  const program = createCommand('parked', DESCRIPTION);
  const json = () =>
    new Option('--json', 'one JSON object on standard output; lines for people on standard error').default(false);
  program
    .command('list')
    .description('the parked records that nobody has decided about')
    .option('--all', 'retried and discarded ones too', false)
    .addOption(json())
    .allowExcessArguments(false)
    .action(({ all }: { all: boolean }) => {
      parsed = { command: 'list', all };
    });
  program
    .command('show')
    .description('one record: where it was, why it was parked, its bytes, and what this program reads in it')
    .argument('<ID>', 'as listed', parseParkedId)
    .addOption(json())
    .allowExcessArguments(false)
    .action((parkedId: bigint) => {
      parsed = { command: 'show', parkedId };
    });
  const change = (name: string, description: string) =>
    program
      .command(name)
      .description(description)
      .argument('<ID>', 'as listed', parseParkedId)
      .option('--yes', 'do not ask for confirmation', false)
      .option('--by <name>', 'who is recorded (default: the user that runs this)', parseText)
      .addOption(json())
      .allowExcessArguments(false);
  change('retry', 'apply its order, if this program can read it; no offset moves').action(
    (parkedId: bigint, { yes, by }: ChangeOptions) => {
      parsed = { command: 'retry', parkedId, yes, by };
    },
  );
  change('discard', 'record that nobody will apply it; the bytes are kept')
    .requiredOption('--reason <text>', 'why', parseText)
    .action((parkedId: bigint, { yes, by, reason }: ChangeOptions & { reason: string }) => {
      parsed = { command: 'discard', parkedId, yes, by, reason };
    });
  program.parse(argv, { from: 'user' });
  // Without a command, commander shows the help and throws.
  return { ...parsed!, json: program.commands.some((one) => one.opts().json === true) };
}

interface ChangeOptions {
  readonly yes: boolean;
  readonly by?: string;
}

function parseParkedId(text: string): bigint {
  if (!/^[1-9]\d{0,17}$/.test(text)) throw new InvalidArgumentError('Expected an id as `list` shows it.');
  return BigInt(text);
}

/** One line of text, since `list` shows it on one. */
function parseText(text: string): string {
  const trimmed = text.trim();
  if (!/^[^\p{Cc}]{1,500}$/u.test(trimmed)) throw new InvalidArgumentError('Expected 1 to 500 characters on one line.');
  return trimmed;
}
