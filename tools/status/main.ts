// `npm run status`: the verdict on the whole pipeline and its positions on one screen, from the operations addresses of the services.
import process from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';
import { PipelineWatch } from '../../cdc-reader/status/watch.ts';
import { readStatusConfig } from '../config.ts';
import { createCommand, runTool } from '../run-tool.ts';
import { exitCodeOf, formatOverview } from './format.ts';

/** sysexits.h: EX_UNAVAILABLE. 3 is taken: it can't be told. */
const EXIT_UNAVAILABLE = 69;
const READ_DEADLINE_MS = 2_000;
/** Two readings this far apart tell whether anything moves. */
const BETWEEN_READINGS_MS = 1_500;

const DESCRIPTION =
  'Reads health and metrics of the services and prints what they mean together: the verdict, with the command that repairs what is ' +
  'wrong, and the position of each stage from the write-ahead log to the carts. Changes nothing.\n\nExit codes: 0 in step, idle or ' +
  'catching up, 1 a person is needed (halted, waiting, stalled, parked events, an audit with differences), 3 it can not be told, 64 bad arguments, 78 bad configuration.';

await runTool('status', process, EXIT_UNAVAILABLE, async () => {
  const command = createCommand('status', DESCRIPTION)
    .option('--json', 'one JSON object, for scripts')
    .allowExcessArguments(false)
    .parse(process.argv.slice(2), { from: 'user' });
  const { json } = command.opts<{ json?: true }>();
  const { services, access } = readStatusConfig(process.env);
  const watch = new PipelineWatch({ services, access, deadlineMs: READ_DEADLINE_MS });
  await watch.read();
  await delay(BETWEEN_READINGS_MS);
  const overview = await watch.read();
  process.stdout.write(json ? `${JSON.stringify(overview)}\n` : formatOverview(overview));
  return exitCodeOf(overview);
});
