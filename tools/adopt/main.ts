// `npm run adopt`: accepts a proven gap after a halt, of the reader or of the sinks.
import process from 'node:process';
import { createLogger } from '#service/logger.ts';
import { readCdcReaderConfig } from '../../cdc-reader/config.ts';
import { limitExpandedBatches } from '../../kafka/protocol/record-batch.ts';
import { readAdoptSinkConfig, readOptionalCartDatabase } from '../config.ts';
import { createCommandOutput } from '../json-output.ts';
import { runTool } from '../run-tool.ts';
import { parseAdoptArguments } from './arguments.ts';
import { adoptReader } from './reader/adopt-reader.ts';
import { adoptSink } from './sink/adopt-sink.ts';
import { parkRecord } from './sink/park-record.ts';

const EXIT_FAILED = 1;

await runTool('adopt', process, EXIT_FAILED, async () => {
  const options = parseAdoptArguments(process.argv.slice(2));
  const logger = createLogger('adopt', 'fatal');
  const output = createCommandOutput(process, options.json);
  const conversation = { streams: process, print: output.print };
  if (options.side === 'sink') {
    const config = readAdoptSinkConfig(process.env);
    limitExpandedBatches(config.maxExpandedBatchBytes);
    const { park } = options;
    if (park === undefined) await adoptSink({ config, ...options, conversation, logger });
    else await parkRecord({ config, ...options, park, conversation, logger });
    output.end();
    return 0;
  }
  const config = readCdcReaderConfig(process.env);
  limitExpandedBatches(config.maxExpandedBatchBytes);
  // Only some halts need the carts database.
  const cartDatabase = readOptionalCartDatabase(process.env);
  await adoptReader({ config, cartDatabase, ...options, conversation, logger });
  output.end();
  return 0;
});
