// The arguments of `npm run audit`. Pure.
import { createCommand, parseCount } from '../run-tool.ts';

export interface AuditArguments {
  /** 0: compare at once. */
  readonly waitMs: number;
  /** How many differences are shown at most. */
  readonly limit: number;
  readonly json: boolean;
}

const DESCRIPTION =
  'Checks whether the orders and the carts database agree: takes a snapshot of the orders, waits until reader and sinks have ' +
  'passed it, and compares order by order. Writes nothing but its verdict, for consoles.\n\nExit codes: 0 they agree, 1 they differ, 3 reader or sinks ' +
  'did not pass the snapshot in time, or a partition has halted, 64 bad arguments, 69 a server is unavailable, 78 bad configuration.';

/** @throws CommanderError, which has been printed */
export function parseAuditArguments(argv: readonly string[]): AuditArguments {
  const command = createCommand('audit', DESCRIPTION)
    .option('--wait-seconds <n>', 'how long to wait for reader and sinks', parseCount(1, 86_400), 60)
    .option('--no-wait', 'compare at once: orders still in the pipeline are reported as missing')
    .option('--limit <n>', 'differences to show', parseCount(0, 100_000), 20)
    .option('--json', 'one JSON object on standard output; lines for people on standard error', false)
    .allowExcessArguments(false)
    .parse(argv, { from: 'user' });
  const { waitSeconds, wait, ...rest } = command.opts<{
    waitSeconds: number;
    wait: boolean;
    limit: number;
    json: boolean;
  }>();
  return { waitMs: wait ? waitSeconds * 1_000 : 0, ...rest };
}
