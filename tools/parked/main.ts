// `npm run parked`: lists and shows the records that the sinks have parked, applies one after all, or discards it.
import { userInfo } from 'node:os';
import process from 'node:process';
import { createLogger } from '#service/logger.ts';
import { requireCartTables } from '../cart-tables.ts';
import { readParkedConfig } from '../config.ts';
import { openDatabase } from '../connect.ts';
import { createCommandOutput } from '../json-output.ts';
import { runTool } from '../run-tool.ts';
import { parseParkedArguments } from './arguments.ts';
import { discardParked, listParked, retryParked, showParked } from './decide.ts';

/** sysexits.h: EX_UNAVAILABLE. */
const EXIT_UNAVAILABLE = 69;

/** A container may run under a user id without a name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `user id ${process.getuid?.() ?? 'unknown'}`;
  }
}

await runTool('parked', process, EXIT_UNAVAILABLE, async () => {
  const options = parseParkedArguments(process.argv.slice(2));
  const config = readParkedConfig(process.env);
  const logger = createLogger('parked', 'fatal');
  const server = { postgres: config.cartDatabase, applicationName: 'tillstream-parked', logger };
  const carts = openDatabase(server, { statementTimeoutMs: 30_000 });
  try {
    await requireCartTables(carts);
    const output = createCommandOutput(process, options.json);
    const conversation = { streams: process, print: output.print };
    const context = { carts, ordersTopic: config.ordersTopic, conversation };
    if (options.command === 'list') output.end(await listParked(context, options.all));
    else if (options.command === 'show') output.end(await showParked(context, options.parkedId));
    else {
      const by = options.by ?? userName();
      if (options.command === 'retry') await retryParked(context, { ...options, by });
      else await discardParked(context, { ...options, by });
      output.end();
    }
    return 0;
  } finally {
    await carts.close();
  }
});
