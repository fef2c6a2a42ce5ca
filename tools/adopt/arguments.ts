// The arguments of `npm run adopt`. Pure.
import { InvalidArgumentError, Option } from 'commander';
import type { TopicPartition } from '../../cart-sink/sql/consumer-offsets.ts';
import { createCommand, parseCount } from '../run-tool.ts';

export type AdoptArguments = { readonly json: boolean } & AdoptSide;

type AdoptSide =
  | {
      readonly side: 'reader';
      readonly yes: boolean;
      readonly force: boolean;
      /** How many orders that only replaced tables hold may be given up. */
      readonly leaveOrders: number | undefined;
    }
  | { readonly side: 'sink'; readonly yes: boolean; readonly park: ParkArguments | undefined };

/** The record to park. */
export interface ParkArguments {
  readonly place: TopicPartition;
  readonly offset: bigint;
  /** Park it although this program reads an order in it. */
  readonly readableOrder: boolean;
}

const DESCRIPTION =
  'Accepts a proven gap after a halt, so that the reader or the sinks can continue. Shows what it found and what it will do, ' +
  'and asks for confirmation. Afterwards run the replay command that it prints, to close the gap.\n\nExit codes: 0 done, 1 refused, declined or ' +
  'failed, 64 bad arguments, or no terminal to ask on and no --yes, 78 bad configuration.';

/** @throws CommanderError, which has been printed */
export function parseAdoptArguments(argv: readonly string[]): AdoptArguments {
  let parsed: AdoptSide | undefined;
  const program = createCommand('adopt', DESCRIPTION);
  const json = () =>
    new Option('--json', 'one JSON object on standard output; lines for people on standard error').default(false);
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
    .addOption(json())
    .allowExcessArguments(false)
    .action(({ yes, force, leaveOrders }: { yes: boolean; force: boolean; leaveOrders?: number }) => {
      parsed = { side: 'reader', yes, force, leaveOrders };
    });
  program
    .command('sink')
    .description('after a halt of the sinks: move their offsets to where they can continue')
    .option('--yes', 'do not ask for confirmation', false)
    .option(
      '--park <TOPIC[PARTITION]@OFFSET>',
      'instead: park the record at which this partition has halted, and continue behind it',
      parseRecordPlace,
    )
    .option('--readable-order', 'with --park: also if this program reads an order in the record', false)
    .addOption(json())
    .allowExcessArguments(false)
    .action(({ yes, park, readableOrder }: SinkOptions) => {
      if (park === undefined && readableOrder) program.error('error: --readable-order needs --park');
      parsed = { side: 'sink', yes, park: park && { ...park, readableOrder } };
    });
  program.parse(argv, { from: 'user' });
  // Without a command, commander shows the help and throws.
  return { ...parsed!, json: program.commands.some((one) => one.opts().json === true) };
}

interface SinkOptions {
  readonly yes: boolean;
  readonly park?: Omit<ParkArguments, 'readableOrder'>;
  readonly readableOrder: boolean;
}

function parseRecordPlace(text: string): Omit<ParkArguments, 'readableOrder'> {
  const [, topic, partition, offset] = /^([\w.-]{1,249})\[(\d{1,9})\]@(\d{1,18})$/.exec(text) ?? [];
  if (topic === undefined)
    throw new InvalidArgumentError("Expected TOPIC[PARTITION]@OFFSET, like 'orders.placed[3]@1207'.");
  return { place: { topic, partition: Number(partition) }, offset: BigInt(offset!) };
}
