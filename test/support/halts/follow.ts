// Takes the commands out of a halt's own message and runs them, so that a message can't name one that does not work. What is
// to run before the services start again, and what after, follows from the command: replays and retries need them running.
// Kafka's own scripts are carried out by an admin client that takes no argument but those that the messages have.
import { ConfigResourceTypes } from 'kafkajs';
import { withKafkaAdmin } from '../kafka/admin.ts';
import { runTool, type ToolName, type ToolResult } from '../process/tool-process.ts';
import type { DisasterStage } from '../stack/disaster-stage.ts';
import { waitFor } from '../wait.ts';

/** What a person may paste: in backticks, in messages and refusals. */
const QUOTED = /`((?:npm run|kafka-(?:configs|topics)\.sh|SELECT|[A-Z_]+=\S+ [^`]*npm run) ?[^`]*)`/g;
/** What tools print as their next steps. */
const PRINTED = /npm run (?:replay|parked) -- (?:--?[\w-]+|[\w/:.]+)(?: (?:--?[\w-]+|[\w/:.]+))*/g;
const NEEDS_SERVICES = /^npm run (?:replay|audit|parked)/;

export function parseCommands(text: string): string[] {
  return [...new Set([...text.matchAll(QUOTED)].map(([, command]) => command!))];
}

export interface Followed {
  /** What ran, in this order. */
  readonly commands: readonly string[];
  /** To run once the services have started again: of each step the first alternative that is not refused. */
  readonly later: readonly Alternatives[];
}

type Alternatives = readonly string[];

/** Runs the commands of `message`. One that is refused is run again after those that its refusal names. */
export async function follow(stage: DisasterStage, message: string): Promise<Followed> {
  const commands: string[] = [];
  const later: Alternatives[] = [];
  for (const command of parseCommands(message)) {
    if (NEEDS_SERVICES.test(command)) {
      later.push([command]);
      continue;
    }
    commands.push(command);
    if (command.includes('--park')) await waitStored(stage);
    let result = await runCommand(stage, command);
    if (result.code === 1) {
      const named = parseCommands(result.stderr);
      if (named.length === 0) throw new Error(`${command} refused without naming a command:\n${result.stderr}`);
      commands.push(...named);
      for (const other of named) {
        result = await runCommand(stage, other);
        requireDone(other, result);
      }
      // A refusal may name the same command with more arguments: then it has been run.
      if (!named.some((other) => other.startsWith(command))) result = await runCommand(stage, command);
    }
    requireDone(command, result);
    const steps = result.stdout.split(/^Next:$/m)[1]?.split('\n') ?? [];
    const printed = steps.map((step) => step.match(PRINTED) ?? []).filter((alternatives) => alternatives.length > 0);
    later.unshift(...printed);
  }
  return { commands, later };
}

/** A sink logs the halt of a partition, and stores it for the tools right after. */
const waitStored = (stage: DisasterStage) =>
  waitFor('the halt to be stored', async () => {
    return (await stage.carts('SELECT FROM consumer_offsets WHERE halted_code IS NOT NULL')).length > 0;
  });

/** Runs what needs the services. */
export async function followLater(stage: DisasterStage, later: readonly Alternatives[]): Promise<void> {
  for (const alternatives of later) {
    const refused: string[] = [];
    for (const command of alternatives) {
      const { code, stdout, stderr } = await runCommand(stage, command);
      if (code === 0) break;
      refused.push(`${command} ended with ${code}:\n${stdout}${stderr}`);
    }
    if (refused.length === alternatives.length) throw new Error(refused.join('\n'));
  }
}

function requireDone(command: string, { code, stdout, stderr }: ToolResult): void {
  if (code !== 0) throw new Error(`${command} ended with ${code}:\n${stdout}${stderr}`);
}

async function runCommand(stage: DisasterStage, command: string): Promise<ToolResult> {
  const done = { code: 0, stdout: '', stderr: '' };
  if (command.startsWith('SELECT ')) {
    await stage.orders(command);
    return done;
  }
  const [, tool, rest] = /^npm run (adopt|parked|replay|audit)(?: -- (.*))?$/.exec(command) ?? [];
  if (tool !== undefined) {
    const args = (rest ?? '').split(' ').filter((one) => one !== '');
    const unquoted = args.map((one) => one.replace(/^'(.*)'$/, '$1'));
    const confirmed = tool === 'audit' ? unquoted : [...unquoted, '--yes'];
    return runTool(tool as ToolName, confirmed, stage.environment.env);
  }
  const server = String.raw`--bootstrap-server "\$KAFKA_BROKERS"`;
  const alter = new RegExp(String.raw`^kafka-configs\.sh ${server} --alter --topic (\S+) --add-config ([\w.]+)=(\S+)$`);
  const [, altered, name, value] = alter.exec(command) ?? [];
  const [, deleted] = new RegExp(String.raw`^kafka-topics\.sh ${server} --delete --topic (\S+)$`).exec(command) ?? [];
  if (altered === undefined && deleted === undefined) throw new Error(`Nobody can run this as it stands: ${command}`);
  await withKafkaAdmin(stage.environment.servers.directBrokers, async (admin) => {
    if (deleted !== undefined) {
      await admin.deleteTopics({ topics: [deleted] });
      await waitFor('the topic to be gone', async () => !(await admin.listTopics()).includes(deleted));
      return;
    }
    const configEntries = [{ name: name!, value: value! }];
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: altered!, configEntries }];
    await admin.alterConfigs({ validateOnly: false, resources });
  });
  return done;
}
