// The arguments of `npm run find`. Pure.
import { InvalidArgumentError } from 'commander';
import { type Lsn, parseLsn } from '#schemas/lsn.ts';
import type { Wanted } from '../../cdc-reader/find/order-path.ts';
import { createCommand } from '../run-tool.ts';

export interface FindArguments {
  readonly wanted: Wanted;
  readonly json: boolean;
}

const DESCRIPTION =
  'Shows the path of an order: its row, its commit, its record in Kafka, and what it took out of which cart line, or where it ' +
  'is now and why. It reads both databases and Kafka, and changes nothing.\n\nExit codes: 0 applied, 1 there is no such order, 3 ' +
  'not applied, 64 bad arguments, 69 a server that was needed is unavailable, 78 bad configuration.';

/** @throws CommanderError, which has been printed */
export function parseFindArguments(argv: readonly string[]): FindArguments {
  const command = createCommand('find', DESCRIPTION)
    .argument('[ORDER_ID]', 'the order', parseOrderId)
    .option('--user <id>', 'the newest five orders of this user', parseUser)
    .option('--lsn <X/Y>', 'the orders that committed at this position', parsePosition)
    .option('--json', 'one JSON object on standard output', false)
    .allowExcessArguments(false)
    .parse(argv, { from: 'user' });
  const [orderId] = command.processedArgs as [string | undefined];
  const { user, lsn, json } = command.opts<{ user?: string; lsn?: Lsn; json: boolean }>();
  const wanted: Wanted[] = [];
  if (orderId !== undefined) wanted.push({ kind: 'order', orderId });
  if (user !== undefined) wanted.push({ kind: 'user', userId: user });
  if (lsn !== undefined) wanted.push({ kind: 'lsn', commitLsn: lsn });
  if (wanted.length !== 1) command.error('error: expected one of ORDER_ID, --user and --lsn');
  return { wanted: wanted[0]!, json };
}

function parseOrderId(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new InvalidArgumentError('Expected a UUID.');
  return text.toLowerCase();
}

function parseUser(text: string): string {
  if (!/^[A-Za-z0-9._:-]{1,64}$/.test(text)) {
    throw new InvalidArgumentError('Expected 1 to 64 characters of A-Z a-z 0-9 . _ : -');
  }
  return text;
}

function parsePosition(text: string): Lsn {
  try {
    return parseLsn(text);
  } catch {
    throw new InvalidArgumentError('Expected X/Y in hexadecimal, like 0/16B3748.');
  }
}
