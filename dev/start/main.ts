// `npm start`: the whole of Tillstream on this machine, for trying it out. Starts the servers that the environment does
// not name, migrates their databases, starts the three services, plays one sample order, prints where everything is and how to
// use it, and stays up. Guarantees: Ctrl-C, once or often, stops services, then Kafka, then Postgres, and ends with 0; the next
// start continues with the same data; if it is killed, guards stop everything (child-process.ts). Bad configuration ends with 78.

import { join } from 'node:path';
import { unlessAborted } from '#service/deadline.ts';
import { runInTerminal, type TerminalRun } from './run-in-terminal.ts';
import { playSample } from './sample.ts';
import { startStack } from './stack.ts';
import { readStackConfig } from './stack-config.ts';
import { formatAddresses, formatByHand, formatCurlLines, formatSample } from './start-messages.ts';

const sampleDeadlineMs = 30_000;
const repository = join(import.meta.dirname, '..', '..');
const startPage = { 'order-api': '/docs', 'cdc-reader': '/', 'cart-sink': '/docs' } as const;

/** Starts everything, and returns when told to stop and all has stopped. */
async function run({ signal, say }: TerminalRun): Promise<number> {
  const config = readStackConfig(process.env, repository);
  await using resources = new AsyncDisposableStack();
  const { services, servers, orderApiUrl, cartSinkUrl } = await startStack({ config, resources, signal, say });

  const now = Date.now().toString(36);
  const play = (userId: string) =>
    playSample({ orderApiUrl, cartSinkUrl, userId, deadlineMs: sampleDeadlineMs, signal });
  const sample = await play(`sample-${now}`);
  const { afterOrderMs: againMs } = await play(`again-${now}`);
  say(`${formatSample(`sample-${now}`, sample, againMs)}\n`);
  const running = [
    ...services.map(({ plan, pid }) => ({ what: plan.name, url: plan.url + startPage[plan.name], pid: pid() })),
    ...servers.map(({ what, pid }) => ({ what, pid: pid() })),
  ];
  say(`${formatAddresses(running, config.connections)}\n`);
  say(`${formatCurlLines(config.services, `you-${now}`)}\n`);
  say(`${formatByHand(config)}\n`);
  say('Everything stays up until Ctrl-C.');
  return await unlessAborted(new Promise<never>(() => undefined), signal);
}

await runInTerminal('npm start', run);
