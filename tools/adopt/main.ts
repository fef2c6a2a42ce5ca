// `npm run adopt`: accepts a proven gap after a halt, of the reader or of the sinks.
import process from 'node:process';
import { cartSinkVariables } from '../../cart-sink/config.ts';
import { readCdcReaderConfig } from '../../cdc-reader/config.ts';
import { limitExpandedBatches } from '../../kafka/protocol/record-batch.ts';
import { optional, readEnvironment } from '../../service/environment.ts';
import { createLogger } from '../../service/logger.ts';
import { runTool } from '../run-tool.ts';
import { adoptReader } from './adopt-reader.ts';
import { adoptSink } from './adopt-sink.ts';
import { parseAdoptArguments } from './arguments.ts';
import { readAdoptSinkConfig } from './config.ts';

const EXIT_FAILED = 1;

await runTool('adopt', process, EXIT_FAILED, async () => {
  const options = parseAdoptArguments(process.argv.slice(2));
  const logger = createLogger('adopt', 'fatal');
  const conversation = {
    input: process.stdin,
    output: process.stdout,
    print: (line: string) => void process.stdout.write(`${line}\n`),
  };
  if (options.side === 'sink') {
    const config = readAdoptSinkConfig(process.env);
    limitExpandedBatches(config.maxExpandedBatchBytes);
    await adoptSink({ config, ...options, conversation, logger });
    return 0;
  }
  const config = readCdcReaderConfig(process.env);
  limitExpandedBatches(config.maxExpandedBatchBytes);
  const carts = { cartDatabaseUrl: optional(cartSinkVariables.cartDatabaseUrl) };
  await adoptReader({ config, ...readEnvironment(carts, process.env), ...options, conversation, logger });
  return 0;
});
