// `npm run audit`: reports whether the orders and the carts database agree, and if not, which orders differ and how.
import process from 'node:process';
import { createLogger } from '#service/logger.ts';
import { limitExpandedBatches } from '../../kafka/protocol/record-batch.ts';
import { requireReadable } from '../captured/unreadable-rows.ts';
import { readAuditConfig } from '../config.ts';
import { createCommandOutput } from '../json-output.ts';
import { runTool } from '../run-tool.ts';
import { parseAuditArguments } from './arguments.ts';
import { createProgressLine } from './progress-line.ts';
import { runAudit } from './run-audit.ts';

/** sysexits.h: EX_UNAVAILABLE. 1 is taken: the databases differ. */
const EXIT_UNAVAILABLE = 69;

await runTool('audit', process, EXIT_UNAVAILABLE, async () => {
  const options = parseAuditArguments(process.argv.slice(2));
  const config = readAuditConfig(process.env);
  limitExpandedBatches(config.maxExpandedBatchBytes);
  const progress = createProgressLine(process.stderr, process.stderr.isTTY, () => performance.now());
  const output = createCommandOutput(process, options.json);
  const print = (line: string) => {
    progress.end();
    output.print(line);
  };
  const warn = (line: string) => {
    progress.end();
    process.stderr.write(`audit: ${line}\n`);
  };
  return requireReadable('ORDER_DATABASE_URL or CART_DATABASE_URL', () =>
    runAudit(config, options, { print, show: progress.show, warn, end: output.end }, createLogger('audit', 'fatal')),
  );
});
