// From a halt to whole carts by the commands that halts name, as an operator would: adopt for the reader and for the sinks, the
// live topic deleted where adopt asks for an empty one or a transaction hangs in it, both started again, and a replay from the
// tables. Throws with what the command wrote that did not do its part.
import { withKafkaAdmin } from '../support/kafka/admin.ts';
import { runTool, type ToolName } from '../support/process/tool-process.ts';
import type { PipelineStage } from '../support/stack/pipeline-stage.ts';
import { waitFor } from '../support/wait.ts';

const toolDeadlineMs = 120_000;

/**
 * Reader and sinks must have been stopped. `hangs`: a transaction in the checkpoint topic has lost its coordinator's record, and
 * only Kafka's own tool ends it (kafka-transactions.sh abort), which the broker's jars do not have; adopt names it.
 */
export async function repair({ environment, startStreaming, startSink }: PipelineStage): Promise<'done' | 'hangs'> {
  const { env, servers } = environment;
  const run = async (name: ToolName, args: readonly string[], accepted: RegExp): Promise<string> => {
    const { code, stdout, stderr } = await runTool(name, args, env, { killAfterMs: toolDeadlineMs });
    if (code === 0 || accepted.test(stderr)) return stderr;
    throw new Error(`npm run ${name} -- ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`);
  };
  const nothingWrong = /nothing wrong is found/;
  // A topic that is not empty needs a new generation, and one with a hanging transaction can't be read to its end.
  const isToBeDeleted = /needs an empty live topic|held at \d+ by an open transaction/;
  const hangs = /may hold a newer checkpoint.*kafka-transactions\.sh/;
  const accepted = [nothingWrong, isToBeDeleted, hangs].map(({ source }) => source).join('|');
  const refusal = await run('adopt', ['reader', '--yes'], new RegExp(accepted));
  if (hangs.test(refusal)) return 'hangs';
  if (isToBeDeleted.test(refusal)) {
    await withKafkaAdmin(servers.directBrokers, async (admin) => {
      await admin.deleteTopics({ topics: [env.ORDERS_TOPIC] });
      await waitFor('the topic to be gone', async () => !(await admin.listTopics()).includes(env.ORDERS_TOPIC));
    });
    await run('adopt', ['reader', '--yes'], nothingWrong);
  }
  await run('adopt', ['sink', '--yes'], nothingWrong);
  await startStreaming();
  await startSink();
  await run('replay', ['--source', 'tables', '--yes'], /(?!)/);
  return 'done';
}
