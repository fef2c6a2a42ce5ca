// `npm run replay -- …`: reprocesses orders from a position of the write-ahead log, with proof. Exit codes are in
// cli/errors.ts. Ctrl-C and SIGTERM stop after the transaction in flight.
import process from 'node:process';
import { limitExpandedBatches } from '../../kafka/protocol/record-batch.ts';
import { readReplayConfig } from '../config.ts';
import { createCommand, runTool } from '../run-tool.ts';
import { parseRequest, parseRunId, type ReplayOptions } from './cli/arguments.ts';
import { type Connections, openConnections } from './cli/connections.ts';
import { exitCodes, InterruptedError } from './cli/errors.ts';
import { createOperator, type Talk } from './cli/operator.ts';
import { passOverRun } from './run/pass-over.ts';
import { cancelRun, resumeRun, showCoverage, showStatus } from './run/run-commands.ts';
import { startRun } from './run/start-run.ts';

const exitCodeHelp = `
Exit codes: 0 both sides agree, or there was nothing to do; 1 they don't agree, a failure, or declined; 64 bad arguments,
or no terminal to ask on and no --yes; 69 no source holds the range; 75 another run is being published or is unfinished;
78 bad configuration, or databases and Kafka of different pipelines; 130 stopped by Ctrl-C or SIGTERM, can be resumed.`;

const stop = new AbortController();
// Under npm a process gets Ctrl-C twice: from the terminal and from npm.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort(new InterruptedError()));
const talk: Talk = { operator: createOperator(process), signal: stop.signal };

async function withConnections(work: (connections: Connections) => Promise<number>): Promise<number> {
  const config = readReplayConfig(process.env);
  limitExpandedBatches(config.maxExpandedBatchBytes);
  const connections = await openConnections(config);
  try {
    return await work(connections);
  } finally {
    await connections.close();
  }
}

await runTool('replay', process, exitCodes.failed, async () => {
  let exitCode: number = exitCodes.done;
  const collect = (value: string, values: string[] = []) => [...values, value];
  const command = createCommand('replay', 'Reprocess orders from a position on, with proof')
    .enablePositionalOptions()
    .option('--from-lsn <[timeline:]X/Y>', 'first commit position, inclusive')
    .option('--to-lsn <[timeline:]X/Y>', 'end, exclusive (default: what every sink partition has applied)')
    .option('--from-time <time>', 'first commit time instead, ISO 8601 with a zone')
    .option('--mode <mode>', 'repair: apply what the ledger lacks; reapply: recompute under the current rule')
    .option('--source <source>', 'auto, kafka, wal or tables')
    .option('--user <id>', 'only orders of this user (repeatable)', collect)
    .option('--order <id>', 'only this order (repeatable)', collect)
    .option('--dry-run', 'show the plan and what would change, and stop')
    .option('--yes', 'do not ask for confirmation')
    .option('--rate <n>', 'at most so many orders per second')
    .addHelpText('after', exitCodeHelp)
    .action(async (options: ReplayOptions) => {
      const request = parseRequest(options, Date.now());
      exitCode = await withConnections((connections) => startRun(connections, request, talk));
    });
  command
    .command('coverage')
    .description('show what each source covers')
    .action(async () => {
      exitCode = await withConnections((connections) => showCoverage(connections, talk));
    });
  command
    .command('status <RUN_ID>')
    .description('show a run: plan, progress, results, verdict')
    .option('--json', 'one JSON object on standard output', false)
    .action(async (text: string, { json }: { json: boolean }) => {
      const runId = parseRunId(text);
      exitCode = await withConnections((connections) => showStatus(connections, runId, json, talk));
    });
  const runCommands = [
    ['resume', 'continue a run that was stopped', resumeRun],
    ['cancel', 'give up an unfinished run', cancelRun],
  ] as const;
  for (const [name, description, work] of runCommands) {
    command
      .command(`${name} <RUN_ID>`)
      .description(description)
      .action(async (text: string) => {
        const runId = parseRunId(text);
        exitCode = await withConnections((connections) => work(connections, runId, talk));
      });
  }
  command
    .command('pass-over <RUN_ID>')
    .description('let the sinks skip a run that a restored carts database does not know')
    .option('--yes', 'do not ask for confirmation')
    .action(async (text: string, { yes }: { yes?: boolean }) => {
      const runId = parseRunId(text);
      exitCode = await withConnections((connections) => passOverRun(connections, runId, yes === true, talk));
    });
  await command.parseAsync(process.argv.slice(2), { from: 'user' });
  return exitCode;
});
